import math

import numpy as np
import pytest

from pml_incremental.report.results import Change, verdict

NOTHING = Change(0.0, -0.1, 0.1)
MORE, LESS = Change(0.4, 0.3, 0.5), Change(-0.4, -0.5, -0.3)
UNKNOWN = Change(math.nan, math.nan, math.nan)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"old": NOTHING, "new": MORE}, "Switch."),
        ({"old": LESS, "new": MORE}, "Weigh it."),
        ({"old": LESS, "new": NOTHING}, "Do not switch."),
        ({"old": NOTHING, "new": UNKNOWN}, "No difference beyond chance."),
        ({"new": UNKNOWN}, "No verdict:"),
        ({}, "No verdict:"),
    ],
)
def test_the_advice_follows_from_what_is_beyond_chance(changes, advice):
    said = verdict(changes)
    assert said.startswith(advice)
    assert all((f"{name}: " in said) == (change is not UNKNOWN) for name, change in changes.items())


def test_the_interval_is_of_pairs():
    """Queries of very different difficulty, each one point better: no doubt."""
    draw = np.random.default_rng(0)
    before = draw.random(200)
    change = Change.of(before, before + 0.01)
    assert change.is_more
    assert change.low == pytest.approx(0.01)
    apart = Change.of(before, draw.permutation(before) + 0.01)
    assert not apart.is_more


def test_queries_without_anything_to_find_count_for_nothing():
    hits = np.array([1.0, 0.0, math.nan, 1.0])
    change = Change.of(hits, np.array([1.0, 1.0, math.nan, 1.0]))
    assert change.mean == pytest.approx(1 / 3)
    nothing = Change.of([math.nan], [math.nan])
    assert math.isnan(nothing.mean)
    assert not nothing.is_more
    assert not nothing.is_less
