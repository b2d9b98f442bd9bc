"""A loss file beside plain training does what the strategy of that loss does."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pml_incremental.experiment import run

LOSSES = Path(__file__).parents[2] / "configs" / "losses"


@pytest.mark.parametrize("name", ["correlation", "l2"])
def test_loss_file_equals_strategy(tmp_path, tiny_config, name):
    loss = yaml.safe_load((LOSSES / f"{name}.yaml").read_text())
    metric = {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}}
    loss["loss_funcs"] = {**metric, **loss["loss_funcs"]}
    learned = {}
    for kind, changes in {name: {"strategies": [name]}, "finetune": loss}.items():
        config = tiny_config(tmp_path / kind, tasks=2, **changes)
        found = load_file(run(config, progress=False).folder / kind / "task_2/model.safetensors")
        learned[kind] = {k: v for k, v in found.items() if k.startswith(("trunk", "embedder"))}
    assert learned[name].keys() == learned["finetune"].keys()
    assert all(torch.equal(learned[name][key], learned["finetune"][key]) for key in learned[name])
