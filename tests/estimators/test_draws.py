import copy

import torch

from pml_incremental.estimators.bank import Draws


def numbers(draws, times=1):
    return [torch.rand(4, generator=draws.next("cpu")).tolist() for _ in range(times)]


def test_draws_differ_from_each_other_and_between_seeds():
    drawn = [tuple(row) for seed in range(20) for row in numbers(Draws(seed), times=20)]
    assert len(set(drawn)) == 400


def test_continues_where_it_was_left():
    draws = Draws(seed=3)
    numbers(draws, times=5)
    continued = Draws(draws.seed, draws.count)
    assert numbers(continued, times=3) == numbers(copy.copy(draws), times=3)
    assert draws.count == 5


def test_draws_in_a_row_are_uniform_together():
    """Seeding anew each time must not leave a pattern across draws."""
    draws = Draws(seed=0)
    first = torch.stack([torch.rand(1, generator=draws.next("cpu")) for _ in range(4000)]).flatten()
    assert abs(first.mean().item() - 0.5) < 6 * (1 / 12 / 4000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1]) < 6 / 4000**0.5


def test_seed_may_be_negative_or_large():
    assert numbers(Draws(-1)) != numbers(Draws(2**70))
