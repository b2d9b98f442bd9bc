"""The configs that come with the package, and the paper's run on tiny trees of their datasets."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.cli import main
from pml_incremental.config import (
    ConfigError,
    find_config,
    first_sentence,
    load_config,
    shipped_configs,
    validate,
)
from pml_incremental.models import BNInception

CONFIGS = Path(__file__).parents[2] / "configs"
# Those that are laid over another, with the other.
LAYERS = {"bn_inception": "cub_sequential", "emoji_pair_classifier": "emoji_pair"}
LAYERS |= {"estimators": "glyphs_sequential"}
NAMES = [name for name in shipped_configs() if not name.startswith("losses/")]
LOSSES = [name for name in shipped_configs() if name.startswith("losses/")]
# These losses are fed by a strategy.
STRATEGY_OF = {"fecd": "fecd", "feature_estimation": "fecd", "lwf": "lwf"}
PROTOCOLS = {
    "cub_100_100": ("CUB", [100, 100], 80),
    "cub_sequential": ("CUB", [100, 25, 25, 25, 25], 80),
    "dogs_60_60": ("StanfordDogs", [60, 60], 80),
    "dogs_sequential": ("StanfordDogs", [60, 15, 15, 15, 15], 75),
    "cars": ("Cars196", [98, 98], 80),
    "flowers": ("Flowers102", [51, 51], 80),
}
TINY = """\
transforms:
  train: [Resize: {size: [16, 16]}, ToTensor]
  eval: [Resize: {size: [16, 16]}, ToTensor]
models:
  trunk: {SmallConvNet: {in_channels: 3, width: 4}}
  embedder: {MLP: {layer_sizes: [8]}}
sampler: {MPerClassSampler: {m: 4}}
trainer: {IncrementalMetricLoss: {batch_size: 8, dataloader_num_workers: 0}}
scenario: {ClassIncrementalScenario: {classes_per_task: [2, 2]}}
num_epochs: 1
threads: 1
device: cpu
"""


@pytest.mark.parametrize("name", NAMES)
def test_config_is_valid(name):
    files = [find_config(part) for part in (LAYERS.get(name), name) if part]
    config = load_config(files)
    validate(config)
    if "name:" in files[-1].read_text():
        assert config.name == name


def test_every_file_for_our_own_runner_is_shipped():
    files = [file for file in CONFIGS.rglob("*.yaml") if "powerful_benchmarker" not in file.parts]
    assert sorted(files) == sorted(shipped_configs().values())


@pytest.mark.parametrize("name", shipped_configs())
def test_every_config_says_what_it_is(name):
    assert len(first_sentence(shipped_configs()[name])) > 20


def test_paths_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("mine.yaml") == Path("mine.yaml")
    Path("glyphs.yaml").touch()
    assert find_config("glyphs.yaml") == Path("glyphs.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glyph", "did you mean 'glyphs'"),
        ("mine", "write one of them"),
        ("configs/losses/rkd.yaml", "there is no such file; 'losses/rkd' comes with the package"),
        ("glyphs.yml", "'glyphs' comes with the package"),
        ("configs/glyfs.yaml", "did you mean 'glyphs', which comes with the package?"),
    ],
)
def test_what_is_not_there_is_said(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        find_config(text)


def test_a_file_at_hand_is_nearer_than_what_comes_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("glyphs2.yaml").touch()
    assert find_config("glyfs.yaml") == Path("glyfs.yaml")  # whose reading suggests it


@pytest.mark.parametrize("name", LOSSES)
def test_loss_file_can_be_laid_over_a_config(name):
    config = load_config([find_config("glyphs"), find_config(name)])
    ((loss, weight), *_) = config.loss_weights.items()
    assert loss in config.loss_funcs
    assert weight > 0
    strategy = STRATEGY_OF.get(name.removeprefix("losses/"))
    if strategy is None:
        validate(config)
        assert [spec.class_name for spec in config.strategies] == ["finetune"]
        return
    with pytest.raises(ConfigError, match=rf"remove it and use strategies: \[{strategy}\]"):
        validate(config)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol(name):
    dataset, tasks, batch_size = PROTOCOLS[name]
    config = load_config([CONFIGS / f"{name}.yaml"])
    assert config.dataset.class_name == dataset
    assert config.scenario.kwargs == {"classes_per_task": tasks}
    per_class = config.sampler.kwargs["m"]
    assert (per_class, config.trainer.kwargs["batch_size"]) == (5, batch_size)
    assert batch_size // per_class == min(16, *tasks)
    assert config.trainer.kwargs["freeze_trunk_batchnorm"] is True
    assert config.models.embedder.kwargs == {"layer_sizes": [512]}
    assert config.loss_funcs["metric_loss"].class_name == "TripletMarginLoss"
    trunk, embedder = (config.optimizers[f"{n}_optimizer"] for n in ("trunk", "embedder"))
    assert trunk.class_name == embedder.class_name == "Adam"
    assert trunk.kwargs["weight_decay"] == embedder.kwargs["weight_decay"] == 5e-4
    assert trunk.kwargs["lr"] == pytest.approx(embedder.kwargs["lr"] / 10)


@pytest.fixture
def tiny(tmp_path):
    """A layer that makes a run tiny, and where to put it."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + f"output: {tmp_path / 'runs'}\n")
    return path


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_dry_run(name, make_tree, tiny):
    dataset = PROTOCOLS[name][0]
    names = ["finetune", "correlation", "fecd"] if name == "cub_100_100" else ["correlation"]
    changes = [f"dataset.{dataset}.root={make_tree(dataset)}", f"strategies={json.dumps(names)}"]
    assert main(["run", str(CONFIGS / f"{name}.yaml"), str(tiny), *changes, "--quiet"]) == 0
    run = tiny.parent / "runs" / name
    found = json.loads((run / "metrics.json").read_text())["strategies"]
    assert list(found) == names
    for metrics in found.values():
        recall = np.array(metrics["own/recall_at_1"]["values"], dtype=float)
        assert recall.shape == (3, 2)  # before any task and after each, on each task
        assert ((recall >= 0) & (recall <= 1)).all()
    before = load_file(run / "task_1" / "model.safetensors")
    after = load_file(run / "correlation" / "task_2" / "model.safetensors")
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert {"trunk.0.0.weight", "embedder.0.weight"} <= set(moved)
    assert not [key for key in moved if "running" in key]  # BatchNorm is frozen


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.slow
def test_dry_run_with_bn_inception(make_tree, tiny):
    torch.manual_seed(0)
    weights = tiny.parent / "bn_inception.pth"
    torch.save({**BNInception().state_dict(), "last_linear.bias": torch.zeros(1000)}, weights)
    small = "{SmallConvNet: {in_channels: 3, width: 4}}"
    tiny.write_text(tiny.read_text().replace(small, "BNInception"))
    files = [str(CONFIGS / "cub_sequential.yaml"), str(tiny), str(CONFIGS / "bn_inception.yaml")]
    changes = [
        f"dataset.CUB.root={make_tree('CUB')}",
        f"models.trunk.BNInception.weights_file={weights}",
        *(f"transforms.{side}.Resize.size=[64, 64]" for side in ("train", "eval")),
        "transforms.train.RandomResizedCrop.size=64",
        "transforms.eval.CenterCrop.size=64",
        "strategies=[correlation]",
    ]
    assert main(["run", *files, *changes, "--quiet"]) == 0
    stage = tiny.parent / "runs" / "cub_sequential" / "correlation" / "task_2"
    learned = load_file(stage / "model.safetensors")
    given = torch.load(weights, weights_only=True)
    assert learned["embedder.0.weight"].shape == (8, 1024)
    name = "conv1_7x7_s2_bn.running_var"
    assert torch.equal(learned[f"trunk.{name}"], given[name])
    name = "conv2_3x3.weight"
    torch.testing.assert_close(learned[f"trunk.{name}"], given[name], rtol=0, atol=1e-4)
