"""Probes and turned copies as options of strategies."""

import copy

import pytest
import torch
from torch import nn

from pml_incremental.strategies import STRATEGIES
from pml_incremental.strategies.function_matching import MapMatching
from pml_incremental.trainers import Teacher

HAVE_PROBES = ("correlation", "rectified-correlation", "rkd", "similarity-preserving")
HAVE_PROBES += ("l2", "cosine", "mmd", "function-matching")


def losses_of(strategy):
    parts = [component.losses(None).items() for component in strategy.components]
    return {name: part for found in parts for name, part in found}


@pytest.mark.parametrize("name", HAVE_PROBES)
def test_probes_bring_a_second_loss(name):
    without = losses_of(STRATEGIES[name]())
    assert all(part.probes is None for part in without.values())
    options = {"images": ["warp", "strokes"], "weight": 3, "share": 0.25, "pool": 40}
    found = losses_of(STRATEGIES[name](probes=options))
    (added,) = found.keys() - without.keys()
    assert added.startswith("probe_")
    part = found[added]
    assert (part.weight, part.probes.share, part.probes.pool) == (3, 0.25, 40)
    found = losses_of(STRATEGIES[name](weight=7, probes="mixup"))  # as much as the batch
    assert {part.weight for part in found.values() if part.probes is not None} == {7}


def test_what_keeps_the_teacher_says_so_and_the_dial_can_be_left_out():
    assert not STRATEGIES["correlation"](probes="warp").caches_teacher
    assert STRATEGIES["correlation"](probes={"pool": 9}).caches_teacher
    components = STRATEGIES["function-matching"](lose_at_most=None).components
    kinds = [type(component).__name__ for component in components]
    assert kinds == ["Distillation", "MapMatching", "TurnedClasses"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"probes": "wrap"}, ValueError, "did you mean 'warp'"),
        ({"probes": {"shares": 1}}, TypeError, "shares"),
        ({"probes": {"weight": -1}}, ValueError, "the weight of probe_rectified_correlation_loss"),
        ({"turned": 2}, ValueError, "share must be from 0 to 1"),
        ({"lose_at_most": -1}, ValueError, "lose_at_most must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        STRATEGIES["function-matching"](**options)


def models():
    torch.manual_seed(0)
    return {"trunk": nn.Linear(4, 4, bias=False), "embedder": nn.Identity()}


def moved_by(share):
    """A map loss of 2 after a step that changed the weights by so much, for a weight of 1."""
    before = models()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after["trunk"].weight *= 1 + share
    matching = MapMatching(1.0)
    matching.before_task(None, None, Teacher(**before))
    loss = matching.losses(None)["map_loss"].loss
    student, target = torch.zeros(3, 4, requires_grad=True), torch.ones(3, 4)
    assert loss(student, ref_emb=target) == 0
    matching.after_step({**after, "map_loss": loss}, Teacher(**before))
    return matching, loss(student, ref_emb=target).item()


@pytest.mark.parametrize(("change", "held"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.4, 1.0)])
def test_maps_are_held_as_far_as_the_weights_have_moved(change, held):
    _, loss = moved_by(change)
    assert loss == pytest.approx(2 * held, rel=1e-4)


def test_how_much_is_held_is_part_of_the_training_state_and_starts_anew():
    matching, loss = moved_by(0.03)
    other = MapMatching(1.0)
    other.load_training_state(matching.training_state())
    student, target = torch.zeros(3, 4), torch.ones(3, 4)
    assert other.losses(None)["map_loss"].loss(student, ref_emb=target).item() == loss
    other.before_task(None, None, Teacher(**models()))
    assert other.losses(None)["map_loss"].loss(student, ref_emb=target) == 0
