import json
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from stage_weights import same, weights

from pml_incremental.config import ConfigError
from pml_incremental.config.objects import spec_label
from pml_incremental.experiment import run
from pml_incremental.strategies import STRATEGIES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_without_pictures")]  # whole runs

LOSSES = ["l2", "cosine", "mmd", "rkd", "similarity-preserving", "rectified-correlation"]
FILES = Path(__file__).parents[2] / "configs" / "losses"
PENALTIES = ["ewc", "online-ewc", "mas", "si"]
OTHERS = ["finetune", "joint", "frozen", "pretrained", "correlation+ewc"]
ADDED = ["merge", "replay", "l2+ema-teacher"]
# A strategy, what its folder is called, and which one it is like.
NOTHING = [
    *(({name: {"weight": 0}}, f"{name}-weight_0", "finetune") for name in ("l2", *PENALTIES)),
    ({"rkd+ewc": {"ewc": {"weight": 0}}}, "rkd+ewc-ewc.weight_0", "rkd"),
]
ENDS = [
    ({"merge": {"new_share": 1}}, "merge-new_share_1", "finetune"),
    ({"merge": {"new_share": 0}}, "merge-new_share_0", "frozen"),
    ("ema-teacher", "ema-teacher", "finetune"),
    (
        {"l2+ema-teacher": {"ema-teacher": {"momentum": 1}}},
        "l2+ema-teacher-ema-teacher.momentum_1",
        "l2",
    ),
]
AFFINITY = {"merge": {"new_share": "affinity"}}


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_config):
    # Weights for a run of nine steps, where importances are small.
    strong = [{name: {"weight": 1e4}} for name in PENALTIES]
    compared = [spec for spec, _, _ in NOTHING + ENDS]
    strategies = [*LOSSES, *strong, *OTHERS, *ADDED, *compared, AFFINITY]
    return tiny_config(tmp_path_factory.mktemp("runs"), strategies=strategies)


@pytest.fixture(scope="module")
def finished(config):
    return run(config, progress=False)


@pytest.mark.parametrize(
    "name", [*LOSSES, *ADDED, *(f"{name}-weight_10000.0" for name in PENALTIES)]
)
def test_each_strategy_changes_what_is_learned(finished, name):
    plain = weights(finished.folder, "finetune/task_3")
    assert not same(weights(finished.folder, f"{name}/task_3"), plain)


def test_own_first_tasks_observing_and_models_that_stay(finished):
    own = {path.parent.parent.name for path in finished.folder.glob("*/task_1/model.safetensors")}
    assert own == {"pretrained", "si-weight_10000.0", "si-weight_0"}  # that must have one
    first = weights(finished.folder, "task_1")
    assert same(first, weights(finished.folder, "si-weight_10000.0/task_1"))  # observing is free
    assert same(weights(finished.folder, "frozen/task_3"), first)
    start = weights(finished.folder, "pretrained/task_1")
    assert same(weights(finished.folder, "pretrained/task_3"), start)
    assert not same(first, start)
    own = finished.strategies["pretrained"]["own/recall_at_1"].values
    assert (own == own[0]).all()


def test_penalty_holds_the_parameters(finished):
    first = weights(finished.folder, "task_1")

    def distance(name):
        last = weights(finished.folder, f"{name}/task_2")
        return sum(float((last[k] - first[k]).square().sum()) for k in first if "weight" in k)

    for name in ("ewc-weight_10000.0", "mas-weight_10000.0"):
        assert distance(name) < distance("finetune"), name


@pytest.mark.parametrize(("label", "like"), [row[1:] for row in NOTHING])
def test_a_part_of_weight_zero_is_none(finished, label, like):
    last, expected = (weights(finished.folder, f"{name}/task_3") for name in (label, like))
    assert same(last, expected)


def test_merging_averages_old_and_new_weights(finished):
    stages = ("task_1", "finetune/task_2", "merge/task_2")
    first, plain, merged = (weights(finished.folder, stage) for stage in stages)
    for key, tensor in merged.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (first[key] + plain[key]) / 2)


@pytest.mark.parametrize(("label", "like"), [row[1:] for row in ENDS])
def test_the_ends_of_a_scale(finished, label, like):
    last, expected = (weights(finished.folder, f"{name}/task_3") for name in (label, like))
    for key, tensor in expected.items():
        if tensor.is_floating_point():
            assert torch.equal(last[key], tensor), key


def test_merging_by_affinity_takes_a_share_between(finished):
    merged = weights(finished.folder, "merge-new_share_affinity/task_2")["embedder.0.weight"]
    old = weights(finished.folder, "task_1")["embedder.0.weight"]
    new = weights(finished.folder, "finetune/task_2")["embedder.0.weight"]
    share = ((merged - old) / (new - old)).flatten()
    assert 0.5 < share.median() < 1
    torch.testing.assert_close(merged, old.lerp(new, float(share.median())), atol=1e-5, rtol=1e-3)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory, tiny_config):
    """A run whose embedder learns so fast that rotating it back helps."""
    names = ["finetune", "align", "merge+align", "align+merge", "align+mas"]
    optimizers = {
        "trunk_optimizer": {"Adam": {"lr": 1e-3}},
        "embedder_optimizer": {"Adam": {"lr": 0.1}},
    }
    folder = tmp_path_factory.mktemp("aligned")
    config = tiny_config(folder, 2, strategies=names, optimizers=optimizers)
    result = run(config, progress=False)
    for name in names[1:]:
        report = json.loads((result.folder / name / "task_2/memory.json").read_text())
        assert report["rotated"], name
    return result


def test_aligning_rotates_the_last_layer_and_nothing_else(aligned):
    plain, rotated = (weights(aligned.folder, f"{name}/task_2") for name in ("finetune", "align"))
    changed = {name for name in plain if not torch.equal(plain[name], rotated[name])}
    assert changed == {"embedder.0.weight", "embedder.0.bias"}
    grams = [
        found["embedder.0.weight"].T @ found["embedder.0.weight"] for found in (plain, rotated)
    ]
    torch.testing.assert_close(*grams, atol=1e-5, rtol=1e-5)
    finetune, align = (aligned.strategies[name] for name in ("finetune", "align"))
    for metric in ("own/recall_at_1", "joint/recall_at_1"):
        assert finetune[metric].values[2] == pytest.approx(align[metric].values[2])


def test_aligning_comes_after_merging_and_before_measuring(aligned):
    merged = [weights(aligned.folder, f"{sum_}/task_2") for sum_ in ("merge+align", "align+merge")]
    assert same(*merged)
    held = load_file(aligned.folder / "align+mas/task_2/memory.safetensors")
    last = weights(aligned.folder, "align+mas/task_2")["embedder.0.weight"]
    assert torch.equal(held["1.anchor/embedder.0.weight"], last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ["align+si"]}, r"align\+si gathers importances of weights while training"),
        (
            {
                "models": {"trunk": {"SmallConvNet": {"width": 4}}},
                "optimizers": {"trunk_optimizer": {"Adam": {"lr": 1e-3}}},
                "strategies": ["l2+align"],
            },
            r"those of SmallConvNet and Identity do not rotate with one \(none is called\)",
        ),
    ],
)
def test_what_cannot_be_aligned_is_refused_before_anything_is_learned(
    tmp_path, tiny_config, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(tiny_config(tmp_path, **changes), progress=False)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    "name", ["correlation+ewc", "mas-weight_10000.0", "si-weight_10000.0", "replay"]
)
@pytest.mark.parametrize("lost", ["task_2/evaluation.json", "task_1/memory.safetensors"])
def test_resumed_run_equals_an_uninterrupted_one(finished, config, tmp_path, name, lost):
    folder = shutil.copytree(finished.folder, tmp_path / "tiny")
    (folder / name / lost).unlink()
    (folder / name / "task_3/evaluation.json").unlink()
    (spec,) = (spec for spec in config.strategies if spec_label(spec) == name)
    alone = config.model_copy(update={"output": tmp_path, "strategies": (spec,)})
    assert run(alone, progress=False).strategies[name] == finished.strategies[name]
    stages = (weights(place, f"{name}/task_3") for place in (folder, finished.folder))
    assert same(*stages)


def test_lwf_keeps_the_old_logits(tmp_path, tiny_config, with_classifier):
    specs = ["finetune", "lwf", {"lwf": {"weight": 0}}]
    result = run(tiny_config(tmp_path, strategies=specs, **with_classifier), progress=False)
    plain = weights(result.folder, "finetune/task_3")
    assert same(weights(result.folder, "lwf-weight_0/task_3"), plain)
    assert not same(weights(result.folder, "lwf/task_3"), plain)


def test_lwf_without_classifier_is_refused_before_anything_is_learned(tmp_path, tiny_config):
    config = tiny_config(tmp_path, strategies=["finetune", "correlation+lwf"])
    with pytest.raises(ConfigError, match=r"correlation\+lwf compares logits .* models.classifier"):
        run(config, progress=False)
    assert not (tmp_path / "tiny").exists()


def test_a_term_comes_once(tmp_path, tiny_config, monkeypatch):
    module = types.ModuleType("my_strategies")
    module.another = STRATEGIES["correlation"]
    monkeypatch.setitem(sys.modules, "my_strategies", module)
    strategies = [{"correlation+my_strategies:another": {}}]
    config = tiny_config(tmp_path, 2, strategies=strategies, allow_imports=["my_strategies"])
    with pytest.raises(ValueError, match="bring correlation_loss: leave one out"):
        run(config, progress=False)


@pytest.mark.parametrize("name", ["correlation", "l2"])
def test_a_loss_file_beside_plain_training_does_what_its_strategy_does(tmp_path, tiny_config, name):
    loss = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    metric = {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}}
    loss["loss_funcs"] = {**metric, **loss["loss_funcs"]}
    learned = {}
    for kind, changes in {name: {"strategies": [name]}, "finetune": loss}.items():
        folder = run(tiny_config(tmp_path / kind, tasks=2, **changes), progress=False).folder
        found = weights(folder, f"{kind}/task_2")
        learned[kind] = {k: v for k, v in found.items() if k.startswith(("trunk", "embedder"))}
    assert same(learned[name], learned["finetune"])
