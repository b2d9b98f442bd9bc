"""Feature estimation end to end: four tasks, so that two prior models are estimated."""

import json
import shutil

import pytest
from safetensors.torch import load_file
from stage_weights import same

from pml_incremental.experiment import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_without_pictures")]  # whole runs

RANGED = {"fecd": {"estimator": "AccuracyChangeEstimator"}}
LEARNED = {"fecd": {"estimator": {"MLPEstimator": {}}}}


def last_weights(result):
    (label,) = result.strategies
    return load_file(result.folder / label / "task_4" / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tiny_config, tmp_path_factory):
    """The config and the result of a run with a strategy, learned once; not to be changed."""
    found = {}

    def of(strategy):
        if str(strategy) not in found:
            config = tiny_config(tmp_path_factory.mktemp("runs"), 4, strategies=[strategy])
            found[str(strategy)] = config, run(config, progress=False)
        return found[str(strategy)]

    return of


@pytest.mark.parametrize(
    "strategy", [RANGED, {"fecd": {"estimator": "DriftEstimator"}}, "fecd", LEARNED], ids=str
)
def test_estimation_changes_what_is_learned_from_the_third_task_on(strategy, finished):
    (_, fecd), (_, plain) = finished(strategy), finished("correlation")
    found = [next(iter(r.strategies.values()))["own/recall_at_1"].values for r in (fecd, plain)]
    assert found[0][:3].tolist() == found[1][:3].tolist()
    assert not same(last_weights(fecd), last_weights(plain))
    (label,) = fecd.strategies
    report = json.loads((fecd.folder / label / "task_4" / "memory.json").read_text())
    # The estimates of task 4: those of M_1 and M_2, M_3 being its teacher.
    assert report["prior_models"] == 2
    assert report["bytes"] > 0
    ranged = ["M_1", "M_2", "M_3"] if strategy is RANGED else []
    assert sorted(report["ranges"]) == ranged


@pytest.mark.parametrize(
    "strategy",
    [
        RANGED,
        "fecd",
        {"fecd": {"estimator_input": "embeddings", "estimator_images": "finished", "passes": 1}},
        LEARNED,
        "fecd-oracle",
        {"fecd": {"probes": "warp"}},
        {"fecd-oracle": {"probes": "warp"}},
    ],
    ids=str,
)
def test_resumed_run_equals_an_uninterrupted_one(strategy, finished, tmp_path):
    config, whole = finished(strategy)
    killed = shutil.copytree(whole.folder, tmp_path / "tiny")
    (label,) = whole.strategies
    for name in ("task_4/{}", "task_3/{}"):
        for file in ("evaluation.json", "memory.safetensors"):
            (killed / label / name.format(file)).unlink()
    resumed = run(config.model_copy(update={"output": tmp_path}), progress=False)
    assert resumed.strategies == whole.strategies
    assert same(last_weights(resumed), last_weights(whole))


def test_fixed_range_is_used_and_recorded(tiny_config, tmp_path):
    options = {"estimator": "AccuracyChangeEstimator", "low": -0.0442811, "high": 0.2230079}
    config = tiny_config(tmp_path, strategies=[{"fecd": options}])
    result = run(config, progress=False)
    (label,) = result.strategies
    report = json.loads((result.folder / label / "task_3" / "memory.json").read_text())
    assert report["ranges"] == {f"M_{k}": [-0.0442811, 0.2230079] for k in (1, 2)}
