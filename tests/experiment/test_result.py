import dataclasses
import json
import math
from pathlib import Path

import pytest

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.results import Result


def test_to_dict_is_plain_json_of_every_matrix():
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


def test_a_result_is_not_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Result("demo", Path("runs/demo"), {}).name = "other"
