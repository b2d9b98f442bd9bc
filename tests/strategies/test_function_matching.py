"""Probes and turned copies as options of strategies."""

import pytest

from pml_incremental.strategies import STRATEGIES

HAVE_PROBES = (
    "correlation",
    "rectified-correlation",
    "rkd",
    "similarity-preserving",
    "l2",
    "cosine",
    "mmd",
    "function-matching",
)


def losses_of(strategy):
    return {
        name: part
        for component in strategy.components
        for name, part in component.losses(None).items()
    }


@pytest.mark.parametrize("name", HAVE_PROBES)
def test_probes_bring_a_second_loss(name):
    without = losses_of(STRATEGIES[name]())
    assert all(part.probes is None for part in without.values())
    options = {"images": ["warp", "strokes"], "weight": 3, "share": 0.25, "pool": 40}
    found = losses_of(STRATEGIES[name](probes=options))
    (added,) = found.keys() - without.keys()
    assert added.startswith("probe_")
    assert (found[added].weight, found[added].probes.share, found[added].probes.pool) == (
        3,
        0.25,
        40,
    )


@pytest.mark.parametrize("name", HAVE_PROBES)
def test_probes_weigh_as_much_as_the_batch_unless_told(name):
    found = losses_of(STRATEGIES[name](weight=7, probes="mixup"))
    assert {part.weight for part in found.values() if part.probes is not None} == {7}


def test_what_keeps_the_teacher_says_so():
    assert not STRATEGIES["correlation"](probes="warp").caches_teacher
    assert STRATEGIES["correlation"](probes={"pool": 9}).caches_teacher


def test_the_dial_can_be_left_out():
    kinds = [
        type(c).__name__ for c in STRATEGIES["function-matching"](lose_at_most=None).components
    ]
    assert kinds == ["Distillation", "Distillation", "TurnedClasses"]


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
