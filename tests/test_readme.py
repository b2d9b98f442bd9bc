"""The README's code runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn

from pml_incremental.models import SmallConvNet

ROOT = Path(__file__).parents[1]


def code_block(name):
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found.group(1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for label in range(8):
        (tmp_path / "my_folder" / f"class_{label}").mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(
                tmp_path / "my_folder" / f"class_{label}" / f"{number}.png"
            )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_library_example(folder):
    names = {"my_trunk": SmallConvNet(3, width=4), "my_embedder": nn.Linear(16, 8)}
    before = names["my_embedder"].weight.detach().clone()
    code = code_block("library")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    exec(code, names)
    saved = torch.load(folder / "updated.pt", weights_only=True)
    assert not torch.equal(saved["embedder"]["weight"], before)
    assert torch.equal(saved["embedder"]["weight"], names["my_embedder"].weight)


def test_loss_example():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    before = model[1].weight.detach().clone()
    names = {
        "torch": torch,
        "model": model,
        "metric_loss": TripletMarginLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loader": [(torch.randn(8, 3, 2, 2), torch.arange(8) % 4)] * 3,
    }
    exec(code_block("loss"), names)
    assert not torch.equal(model[1].weight, before)
    assert torch.equal(names["teacher"][1].weight, before)


def test_configs_named_in_the_readme_exist_and_are_valid():
    from pml_incremental.config import load_config, validate

    named = set(re.findall(r"configs/[\w/]+\.yaml", (ROOT / "README.md").read_text()))
    assert {"configs/glyphs.yaml", "configs/folder.yaml"} <= named
    for path in named:
        validate(load_config([ROOT / path]))


def test_pictures_of_the_readme_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / path).is_file(), path
