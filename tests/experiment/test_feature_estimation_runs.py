"""Feature estimation end to end: four tasks, so that two prior models are estimated."""

import json

import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.experiment import run

pytestmark = pytest.mark.slow  # whole runs

ESTIMATORS = ["AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator"]


@pytest.fixture
def four_tasks(tiny_config):
    def make(folder, strategy):
        return tiny_config(
            folder,
            dataset={
                "Glyphs": {
                    "scripts": ["armenian", "georgian", "arrows", "greek"],
                    "max_classes_per_script": 8,
                    "image_size": 16,
                }
            },
            strategies=[strategy],
        )

    return make


def last_weights(result):
    (label,) = result.strategies
    return load_file(result.folder / label / "task_4" / "model.safetensors")


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimation_changes_what_is_learned_from_the_third_task_on(estimator, four_tasks, tmp_path):
    fecd = run(four_tasks(tmp_path / "a", {"fecd": {"estimator": estimator}}), progress=False)
    plain = run(four_tasks(tmp_path / "b", "correlation"), progress=False)
    (mine,) = fecd.strategies.values()
    (theirs,) = plain.strategies.values()
    assert mine["own/recall_at_1"].values[:3].tolist() == (
        theirs["own/recall_at_1"].values[:3].tolist()
    )
    assert not same(last_weights(fecd), last_weights(plain))
    (label,) = fecd.strategies
    report = json.loads((fecd.folder / label / "task_4" / "memory.json").read_text())
    # The estimates of task 4: those of M_1 and M_2, M_3 being its teacher.
    assert report["prior_models"] == 2
    assert report["bytes"] > 0
    assert sorted(report["ranges"]) == (
        ["M_1", "M_2", "M_3"] if estimator == "AccuracyChangeEstimator" else []
    )


@pytest.mark.parametrize(
    "strategy",
    [
        {"fecd": {"estimator": "AccuracyChangeEstimator"}},
        "fecd",
        {"fecd": {"estimator_input": "embeddings", "estimator_images": "finished", "passes": 1}},
        {"fecd": {"estimator": {"MLPEstimator": {}}}},
        "fecd-oracle",
        {"fecd": {"probes": "warp"}},
        {"fecd-oracle": {"probes": "warp"}},
    ],
    ids=str,
)
def test_resumed_run_equals_an_uninterrupted_one(strategy, four_tasks, tmp_path):
    whole = run(four_tasks(tmp_path / "whole", strategy), progress=False)
    config = four_tasks(tmp_path / "killed", strategy)
    killed = run(config, progress=False)
    (label,) = killed.strategies
    for name in ("evaluation.json", "memory.safetensors"):
        (killed.folder / label / "task_4" / name).unlink()
    (killed.folder / label / "task_3" / "evaluation.json").unlink()
    (killed.folder / label / "task_3" / "memory.safetensors").unlink()
    resumed = run(config, progress=False)
    assert resumed.strategies == whole.strategies
    assert same(last_weights(resumed), last_weights(whole))


def test_fixed_range_is_used_and_recorded(four_tasks, tmp_path):
    options = {"estimator": "AccuracyChangeEstimator", "low": -0.0442811, "high": 0.2230079}
    result = run(four_tasks(tmp_path, {"fecd": options}), progress=False)
    (label,) = result.strategies
    report = json.loads((result.folder / label / "task_3" / "memory.json").read_text())
    assert report["ranges"] == {"M_1": [-0.0442811, 0.2230079], "M_2": [-0.0442811, 0.2230079]}
