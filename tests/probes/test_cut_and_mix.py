"""Two images, one on each side of a line."""

import pytest
import torch
from scipy.optimize import linprog

from pml_incremental.probes import cut_and_mix


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, height=15, width=21):
    """Images of one value each: their number."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(count, 2, height, width)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_each_image_meets_another_and_each_serves_once(count):
    made = cut_and_mix(numbered(count), seeded())
    partners = []
    for number, image in enumerate(made):
        values = image.unique().tolist()
        assert number in values
        assert len(values) == 2
        partners += [value for value in values if value != number]
    assert sorted(partners) == list(range(count))


def test_every_pixel_comes_from_its_own_place():
    batch = torch.rand(6, 3, 8, 10, generator=seeded())
    made = cut_and_mix(batch, seeded(1))
    assert (made.unsqueeze(1) == batch).all(dim=2).any(dim=1).all()


def test_one_image_stays_as_it_is():
    assert torch.equal(cut_and_mix(numbered(1), seeded()), numbered(1))


def test_a_line_parts_what_stays_from_what_does_not():
    stays = cut_and_mix(numbered(64), seeded())[:, 0] == torch.arange(64.0).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(15.0), torch.arange(21.0), indexing="ij")
    places = torch.stack([x - 10, y - 7, torch.ones_like(x)], dim=-1).view(-1, 3)
    for side in stays.flatten(1):
        signs = torch.where(side, -1.0, 1.0).view(-1, 1)
        line = linprog(
            [0, 0, 0],
            A_ub=(signs * places).numpy(),
            b_ub=[-1e-4] * len(places),
            bounds=(None, None),
        )
        assert line.success


def test_half_stays_on_average_and_no_image_stays_whole():
    stays = cut_and_mix(numbered(500), seeded())[:, 0] == torch.arange(500.0).view(-1, 1, 1)
    shares = stays.float().mean(dim=(1, 2))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert 0.1 < shares.min() < 0.3
    assert 0.7 < shares.max() < 0.9
    # All directions: every place of the border stays as often.
    assert (stays.float().mean(dim=0) - 0.5).abs().max() < 0.1
