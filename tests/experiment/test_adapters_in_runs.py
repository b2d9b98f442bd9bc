"""Runs whose trunks learn through adapters, and what opens without peft afterwards."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from stage_weights import weights
from typer.testing import CliRunner

from pml_incremental.cli.commands import app
from pml_incremental.config import ConfigError, load_config, validate
from pml_incremental.experiment import run
from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.running.learn import adapting
from pml_incremental.experiment.student import Student
from pml_incremental.models import SmallConvNet

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

RANK = 2
LORA = {"LoraConfig": {"r": RANK, "target_modules": ["1.0", "2.0"]}}
PROXIES = "metric_loss.proxies"
ADAPTED = ("trunk.1.0.", "trunk.2.0.")


@pytest.fixture(autouse=True)
def _needs_peft():
    pytest.importorskip("peft", reason="needs the extra peft")


def with_adapter(adapter):
    return {
        "trunk": {"SmallConvNet": {"width": 4}},
        "adapter": adapter,
        "embedder": {"MLP": {"layer_sizes": [8]}},
    }


def check_only_the_adapter_learned(before, after):
    """Low-rank changes of the adapted layers, none of the trunk's others, and the embedder's."""
    assert before.keys() == after.keys()
    for name, old in before.items():
        change = after[name] - old
        if name.startswith(ADAPTED):
            assert 0 < torch.linalg.matrix_rank(change.flatten(1), rtol=1e-3) <= RANK, name
        elif name.startswith("trunk."):  # BatchNorm's statistics too
            assert not change.any(), name
        else:
            assert change.any(), name


def test_with_the_key_only_the_adapter_learns_in_every_task(tiny_config, tmp_path):
    adam = {"Adam": {"lr": 1e-3}}
    config = tiny_config(
        tmp_path,
        models=with_adapter(LORA),
        loss_funcs={"metric_loss": "ProxyAnchorLoss"},
        optimizers={f"{n}_optimizer": adam for n in ("trunk", "embedder", "metric_loss")},
        strategies=["finetune", "correlation"],
    )
    folder = run(config, progress=False).folder
    for strategy in ("finetune", "correlation"):
        names = ["task_1", f"{strategy}/task_2", f"{strategy}/task_3"]
        stages = [weights(folder, name) for name in names]
        for before, after in pairwise(stages):
            old, new = before.pop(PROXIES), after[PROXIES]
            assert (new[: len(old)] != old).any()
            check_only_the_adapter_learned(before, {k: after[k] for k in before})


def test_the_strategy_learns_the_first_task_as_others_do(tiny_config, tmp_path):
    lora = {"rank": RANK, "layers": ["1.0", "2.0"]}
    specs = ["finetune", {"lora": lora}, {"lora+correlation": {"lora": lora}}]
    folder = run(tiny_config(tmp_path, tasks=2, strategies=specs), progress=False).folder
    labels = [path.parent.parent.name for path in folder.glob("*/task_2/model.safetensors")]
    first, found = weights(folder, "task_1"), {k: weights(folder, f"{k}/task_2") for k in labels}
    by_adapter = [label for label in labels if label.startswith("lora")]
    for label in by_adapter:
        check_only_the_adapter_learned(first, found[label])
    assert not torch.equal(*(found[label]["trunk.1.0.weight"] for label in by_adapter))


def test_adapters_draw_nothing_from_the_stream_of_the_batches(tiny_config, tmp_path):
    config = tiny_config(tmp_path, models=with_adapter(LORA))
    task = build_scenario(config)[1]
    student = Student(config, task, torch.device("cpu"))
    seed_everything(0, 5)
    expected = torch.rand(3)
    seed_everything(0, 5)
    with adapting(config, task, student, ()):
        assert torch.equal(torch.rand(3), expected)


def test_batchnorm_learns_beside_an_adapter_if_that_is_asked_for(tiny_config, tmp_path):
    sizes = {"batch_size": 16, "iterations_per_epoch": 3, "freeze_trunk_batchnorm": False}
    trainer = {"IncrementalMetricLoss": sizes}
    config = tiny_config(tmp_path, 2, models=with_adapter(LORA), trainer=trainer, strategies=["l2"])
    folder = run(config, progress=False).folder
    before, after = weights(folder, "task_1"), weights(folder, "l2/task_2")
    assert (before["trunk.0.1.running_mean"] != after["trunk.0.1.running_mean"]).any()
    assert torch.equal(before["trunk.0.1.weight"], after["trunk.0.1.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ["lora"], "models": with_adapter(LORA)}, "lora brings an adapter, and so "),
        ({"strategies": ["lora+ewc"]}, r"lora\+ewc holds each weight of the trunk, and these rest"),
        ({"strategies": ["mas"], "models": with_adapter(LORA)}, "mas holds each weight of the tru"),
        (
            {"strategies": [{"lora": {"layers": ["qkv"]}}]},
            "SmallConvNet has no layer 'qkv'; its linear layers and convolutions are 0.0, 1.0",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_learned(
    tiny_config, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(tiny_config(tmp_path, **changes), progress=False)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"LoraConfg": {}}, "there is no adapter 'LoraConfg'; did you mean 'LoraConfig'"),
        ({"LoraConfig": {"rank": 4}}, "LoraConfig has no argument 'rank'; "),
        ({"LoraConfig": {"r": "much"}}, "r: "),
        ({"LoraConfig": {"r": 0, "use_rslora": 3}}, "use_rslora"),
        ({"LoraConfig": {"inference_mode": True}}, "inference_mode: is set by the task loop"),
        ({"IA3Config": {"feedforward_modules": ["a"], "target_modules": ["b"]}}, "cannot be built"),
    ],
)
def test_a_bad_adapter_is_named_by_its_key(tiny_config, tmp_path, adapter, message):
    with pytest.raises(ConfigError, match=rf"models\.adapter\..*{message}"):
        validate(tiny_config(tmp_path, models=with_adapter(adapter)))


def call(*words):
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.output


@pytest.fixture
def learned(draw_classes, tiny_config, tmp_path, monkeypatch):
    """A run on a folder of images, with the key and then with the strategy; peft is gone after."""
    draw_classes(tmp_path / "old", "abcdef", images=6)
    draw_classes(tmp_path / "new", "uvwx", images=6, seed=2)
    size = {"Resize": {"size": [16, 16]}}
    models = with_adapter(LORA)
    models["trunk"] = {"SmallConvNet": {"in_channels": 3, "width": 4}}
    config = tiny_config(
        tmp_path,
        dataset={"ImageFolder": {"root": str(tmp_path / "old")}},
        scenario={"ClassIncrementalScenario": {"classes_per_task": [3, 3]}},
        transforms={"train": [size], "eval": [size]},
        models=models,
        trainer={"IncrementalMetricLoss": {"batch_size": 12, "iterations_per_epoch": 2}},
        strategies=["function-matching"],
    )
    run(config, progress=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    return Path("tiny/function-matching/task_2/model.safetensors")


def test_what_was_learned_opens_without_peft(learned):
    tensors = load_file(learned)
    trunk = SmallConvNet(3, 4)
    trunk.load_state_dict({k[6:]: t for k, t in tensors.items() if k.startswith("trunk.")})
    for words in (
        ("gallery", "build", "old", "old.gallery", "--weights", learned, "--quiet"),
        ("export", learned, "exported"),
        ("gallery", "build", "old", "again.gallery", "--weights", "exported", "--quiet"),
        ("report", "tiny", "--details", "--quiet"),
    ):
        code, output = call(*words)
        assert code == 0, output
    update = ("update", "--weights", learned, "--data", "new", "--out", "new.safetensors")
    quick = ("num_epochs=1", "threads=1", "--quiet")
    code, output = call(*update, *quick)  # which would learn as the old model did
    assert code == 2
    assert "models.adapter needs peft: pip install" in output
    code, output = call(*update, *quick, "models.adapter=null")
    assert code == 0, output


def test_an_update_by_the_strategy(learned, monkeypatch):
    monkeypatch.delitem(sys.modules, "peft")
    update = ("update", "--weights", learned, "--data", "new", "--out", "new.safetensors")
    quick = ("num_epochs=1", "threads=1", "--quiet", "models.adapter=null")
    code, output = call(
        *update, *quick, "--strategy", f"lora: {{rank: {RANK}, layers: ['1.0', '2.0']}}"
    )
    assert code == 0, output
    check_only_the_adapter_learned(load_file(learned), load_file("new.safetensors"))
    monkeypatch.setitem(sys.modules, "peft", None)
    code, output = call("report", "new_update", "--quiet")
    assert code == 0, output


def test_runs_of_before_are_gone_on_with(tiny_config, tmp_path):
    plain = tiny_config(tmp_path).to_yaml_dict()
    assert "adapter" not in plain["models"]
    file = tmp_path / "with.yaml"
    file.write_text(yaml.safe_dump({**plain, "models": with_adapter("LoraConfig")}))
    assert load_config([file]).to_yaml_dict()["models"]["adapter"] == {"LoraConfig": {}}
