"""Runs whose models have learned other classes before."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from stage_weights import same

from pml_incremental.config import ConfigError, validate
from pml_incremental.experiment import diagnose, run
from pml_incremental.experiment.diagnosis.bank_replay import UnfitRunError
from pml_incremental.storage import read_tensor_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_without_pictures")]  # whole runs

FROZEN = {"batch_size": 16, "iterations_per_epoch": 3, "freeze_trunk_batchnorm": "with_teacher"}
GLYPHS = {"scripts": ["georgian", "arrows", "cyrillic"], "max_classes_per_script": 8}
RANGES = {"fecd": {"estimator": "AccuracyChangeEstimator", "estimator_input": "embeddings"}}
STRATEGIES = ["pretrained", "finetune", "correlation", "merge", "ewc", RANGES]


def trained_models(file):
    def weights_of(part):
        return {"weights_file": str(file), "weights_prefix": f"{part}."}

    return {
        "trunk": {"SmallConvNet": {"width": 4, **weights_of("trunk")}},
        "embedder": {"MLP": {"layer_sizes": [8], **weights_of("embedder")}},
    }


@pytest.fixture(scope="module")
def old(tiny_config, tmp_path_factory):
    """The weights file of a run over one task."""
    config = tiny_config(tmp_path_factory.mktemp("old"), tasks=1, strategies=["finetune"])
    return run(config, progress=False).folder / "task_1/model.safetensors"


def grown_config(tiny_config, folder, old, **changes):
    values = {
        "dataset": {"Glyphs": {**GLYPHS, "image_size": 16}},
        "models": trained_models(old),
        "trained_start": True,
        "trainer": {"IncrementalMetricLoss": FROZEN},
        "strategies": STRATEGIES,
    }
    return tiny_config(folder, **{**values, **changes})


@pytest.fixture(scope="module")
def grown(tiny_config, tmp_path_factory, old):
    config = grown_config(tiny_config, tmp_path_factory.mktemp("grown"), old)
    validate(config)
    return config, run(config, progress=False)


def weights(folder, stage):
    tensors = load_file(folder / stage / "model.safetensors")
    return {name: t for name, t in tensors.items() if name.startswith(("trunk.", "embedder."))}


def test_it_begins_with_the_weights_given_and_each_strategy_learns_beside_them(grown, old):
    _, result = grown
    given = weights(old.parent.parent, "task_1")
    assert same(weights(result.folder, "pretrained/task_1"), given)
    assert not (result.folder / "task_1").exists()
    first = {name: weights(result.folder, f"{name}/task_1") for name in ("finetune", "correlation")}
    assert not same(first["finetune"], given)
    assert not same(first["finetune"], first["correlation"])
    key = "trunk.0.1.running_mean"  # BatchNorm is frozen from the first task on
    assert torch.equal(weights(result.folder, "finetune/task_3")[key], given[key])


def test_merging_goes_half_the_way_back_to_the_model_given(grown, old):
    _, result = grown
    given = weights(old.parent.parent, "task_1")["embedder.0.weight"]
    stages = ("finetune/task_1", "merge/task_1")
    plain, merged = (weights(result.folder, stage)["embedder.0.weight"] for stage in stages)
    torch.testing.assert_close(merged, (given + plain) / 2)


def test_what_acts_from_memory_has_none_in_the_first_task(grown):
    _, result = grown
    finetune, ewc = (
        [weights(result.folder, f"{name}/task_{task}") for task in (1, 2)]
        for name in ("finetune", "ewc")
    )
    assert same(finetune[0], ewc[0])
    assert not same(finetune[1], ewc[1])


def test_the_model_given_is_the_first_of_the_prior_models(grown):
    _, result = grown
    folder = next(result.folder.glob("fecd*"))
    reports = [json.loads((folder / f"task_{t}/memory.json").read_text()) for t in (1, 2, 3)]
    assert [report["prior_models"] for report in reports] == [0, 1, 2]
    own = result.strategies[folder.name]["own/recall_at_1"].values
    changes = [own[3, task] - own[0, task] for task in range(3)]
    assert reports[2]["ranges"]["M_1"] == pytest.approx([min(changes), max(changes)])


def test_a_resumed_run_equals_an_uninterrupted_one(grown, tmp_path):
    config, result = grown
    folder = shutil.copytree(result.folder, tmp_path / "tiny")
    (folder / "correlation/task_1/evaluation.json").unlink()
    (folder / "correlation/task_2/evaluation.json").unlink()
    resumed = run(config.model_copy(update={"output": tmp_path}), progress=False)
    assert resumed.strategies["correlation"] == result.strategies["correlation"]


def test_weights_say_what_model_they_are_of(grown):
    config, result = grown
    state = read_tensor_file(result.folder / "correlation/task_2/model.safetensors", "").state
    assert state["image_mode"] == "L"
    recipe = state["recipe"]
    assert recipe["models"]["trunk"] == {"SmallConvNet": {"width": 4}}
    assert recipe["optimizers"] == config.to_yaml_dict()["optimizers"]
    assert not recipe.keys() & {"name", "dataset", "output", "allow_imports", "trained_start"}


def test_weights_are_needed_and_named(tiny_config, tmp_path, old):
    models = {**trained_models(old), "embedder": {"MLP": {"layer_sizes": [8]}}}
    with pytest.raises(ConfigError, match=r"models\.embedder: has no weights_file") as caught:
        validate(grown_config(tiny_config, tmp_path, old, models=models))
    assert len(caught.value.problems) == 1


def test_there_are_no_logits_to_compare_with(tiny_config, tmp_path, old, with_classifier):
    models = {**trained_models(old), "classifier": "GrowingClassifier"}
    changes = {**with_classifier, "models": models, "strategies": ["lwf"]}
    with pytest.raises(ConfigError, match="lwf compares logits, and with trained_start: true only"):
        run(grown_config(tiny_config, tmp_path, old, **changes), progress=False)


def test_such_a_run_is_not_diagnosed(grown):
    with pytest.raises(UnfitRunError, match="began with a trained model"):
        diagnose(grown[1].folder, progress=False)
