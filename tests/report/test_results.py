import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.results import Change, Result, verdict

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


def test_a_result_is_not_changed_and_plain_json_of_every_matrix():
    joint = TaskMatrix([[math.nan, math.nan], [0.75, math.nan], [0.5, 0.75]])
    own = TaskMatrix([[0.25, 0.25], [0.75, 0.5], [0.5, 0.75]])
    matrices = {"own/recall_at_1": own, "joint/recall_at_1": joint}
    result = Result("demo", Path("runs/demo"), {"finetune": matrices, "correlation": matrices})
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["name"] == "demo"
    assert list(found["strategies"]) == ["finetune", "correlation"]
    written = found["strategies"]["finetune"]
    assert written["joint/recall_at_1"]["values"] == [[None, None], [0.75, None], [0.5, 0.75]]
    assert written["joint/recall_at_1"]["summary"]["forward_transfer"] is None
    assert written["own/recall_at_1"]["summary"] == own.summary()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.name = "other"
