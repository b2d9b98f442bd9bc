"""The paper's configs, run on tiny trees in the layouts of their datasets."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.cli import main
from pml_incremental.config import load_config, validate
from pml_incremental.models import BNInception

CONFIGS = Path(__file__).parents[2] / "configs"
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


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol(name):
    dataset, tasks, batch_size = PROTOCOLS[name]
    config = load_config([CONFIGS / f"{name}.yaml"])
    validate(config)
    assert config.name == name
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


@pytest.mark.slow
def test_dry_run_with_bn_inception(make_tree, tiny):
    torch.manual_seed(0)
    weights = tiny.parent / "bn_inception.pth"
    torch.save({**BNInception().state_dict(), "last_linear.bias": torch.zeros(1000)}, weights)
    tiny.write_text(
        tiny.read_text().replace("{SmallConvNet: {in_channels: 3, width: 4}}", "BNInception")
    )
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
    assert torch.equal(
        learned["trunk.conv1_7x7_s2_bn.running_var"], given["conv1_7x7_s2_bn.running_var"]
    )
    torch.testing.assert_close(
        learned["trunk.conv2_3x3.weight"], given["conv2_3x3.weight"], rtol=0, atol=1e-4
    )
