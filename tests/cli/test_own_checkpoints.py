"""A checkpoint of the user's own script, and a YAML file that describes it, in every command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms.functional import to_tensor

from pml_incremental.cli import main
from pml_incremental.gallery import EmbeddingMap, Gallery

Capture = pytest.CaptureFixture[str]

SCRIPT = """
from torch import nn

class Backbone(nn.Sequential):
    def __init__(self):
        layers = nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        super().__init__(*layers, nn.Flatten())

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.backbone, self.head = Backbone(), nn.Linear(24, width)

    def forward(self, images):
        return self.head(self.backbone(images))
"""
SIZE = {"Resize": {"size": [16, 16]}}
TRANSFORMS = {"train": [SIZE], "eval": [SIZE]}
WHOLE = {"models": {"trunk": "own_net:Net"}, "transforms": TRANSFORMS}
PARTS = {
    "models": {"trunk": "own_net:Backbone", "embedder": {"Linear": {"out_features": 8}}},
    "transforms": TRANSFORMS,
}
FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda net: net.state_dict(),
    "state_dict, model.": lambda net: {
        "state_dict": {f"model.{key}": tensor for key, tensor in net.state_dict().items()}
    },
    "module.": lambda net: nn.DataParallel(net).state_dict(),
    "module._orig_mod.": lambda net: nn.DataParallel(torch.compile(net)).state_dict(),
}
pytestmark = pytest.mark.usefixtures("without_pictures")
QUICK = ["num_epochs=1", "threads=1", "--quiet"]
NESTED = ["--weights", "module._orig_mod..pth", "--config", "whole.yaml"]
ALLOW = ["--allow-imports", "own_net"]


@pytest.fixture(scope="module")
def folder(draw_classes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, the user's module, and its checkpoints."""
    root: Path = tmp_path_factory.mktemp("script")
    draw_classes(root / "old", "abcd", images=4)
    draw_classes(root / "new", "uvwx", seed=2)
    (root / "own_net.py").write_text(SCRIPT)
    (root / "whole.yaml").write_text(yaml.safe_dump(WHOLE))
    (root / "parts.yaml").write_text(yaml.safe_dump(PARTS))
    return root


@pytest.fixture
def net(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The user's network, in a folder with links to all that."""
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    torch.manual_seed(5)
    network: nn.Module = importlib.import_module("own_net").Net().eval()
    for form, save in FORMS.items():
        torch.save(save(network), f"{form}.pth")
    return network


def embedded(network: nn.Module, root: str) -> torch.Tensor:
    """What the script itself would make of a folder."""
    files = sorted(Path(root).rglob("*.png"))
    # 2 is bilinear, as torchvision resizes.
    images = [to_tensor(Image.open(file).convert("RGB").resize((16, 16), 2)) for file in files]
    with torch.no_grad():
        return nn.functional.normalize(network(torch.stack(images)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", ["whole.yaml", "parts.yaml"])
def test_a_gallery_has_the_vectors_of_the_script(net: nn.Module, form: str, config: str) -> None:
    build = ["gallery", "build", "old", "shop.gallery", "--quiet", *ALLOW]
    assert main([*build, "--weights", f"{form}.pth", "--config", config]) == 0
    vectors = Gallery.load(Path("shop.gallery")).vectors
    torch.testing.assert_close(vectors, embedded(net, "old"), atol=1e-5, rtol=0)


def test_galleries_from_build_to_a_map(net: nn.Module, capsys: Capture) -> None:
    """The manifest says what model it is; only what may be imported is said again."""
    assert main(["gallery", "build", "old", "old.gallery", *NESTED, *ALLOW, "--quiet"]) == 0
    search = ["gallery", "search", "old.gallery", "old", "--quiet"]
    assert main(search) == 2
    assert "own_net:Net, which is code that could do anything: write --allow-imports own_net" in (
        capsys.readouterr().err
    )
    assert main([*search, *ALLOW]) == 0
    assert "Recall@1 100.0 % of 16 queries" in capsys.readouterr().out
    assert main(["gallery", "add", "old.gallery", "both.gallery", "new", *ALLOW, "--quiet"]) == 0
    both = torch.cat([embedded(net, "old"), embedded(net, "new")])
    torch.testing.assert_close(Gallery.load(Path("both.gallery")).vectors, both, atol=1e-5, rtol=0)
    # The weights are elsewhere now; others are refused.
    Path("module._orig_mod..pth").rename("moved.pth")
    assert main([*search, *ALLOW]) == 1
    assert "module._orig_mod..pth is missing" in capsys.readouterr().err
    assert main([*search, *ALLOW, "--weights", "moved.pth"]) == 0
    assert main([*search, *ALLOW, "--weights", "plain.pth"]) == 1
    assert "plain.pth are not those that the gallery was built with" in capsys.readouterr().err
    other = [*search, *ALLOW, "--compatible"]
    assert main(other) == 2
    assert "--compatible needs the --weights of the other model" in capsys.readouterr().err
    assert main([*other, "--weights", "plain.pth", "--config", "parts.yaml"]) == 0
    assert "of 16 queries" in capsys.readouterr().out

    torch.manual_seed(6)
    newer = importlib.import_module("own_net").Net().eval()
    torch.save({"model_state_dict": newer.state_dict()}, "newer.pth")
    new = ["--weights", "newer.pth", "--config", "parts.yaml", *ALLOW, "--quiet"]
    Path("moved.pth").rename("module._orig_mod..pth")
    update = ["gallery", "update", "old.gallery"]
    more = ["--images", "new", "--queries", "old"]
    assert main([*update, "updated.gallery", *more, *new]) == 0, capsys.readouterr().err
    assert (
        main(["gallery", "fit-map", "map.safetensors", "--old", "old.gallery", *more[:2], *new])
        == 0
    )
    assert main([*update, "mapped.gallery", "--map", "map.safetensors", *more[2:], *ALLOW]) == 0
    updated, mapped = (Gallery.load(Path(f"{name}.gallery")) for name in ("updated", "mapped"))
    assert torch.equal(updated.vectors, mapped.vectors)
    assert updated.model == mapped.model
    assert main(["gallery", "search", "updated.gallery", "new", *ALLOW]) == 0


def test_a_map_between_two_checkpoints_of_a_script(net: nn.Module) -> None:
    torch.manual_seed(6)
    newer = importlib.import_module("own_net").Net().eval()
    torch.save(newer.state_dict(), "newer.pth")
    fit = ["gallery", "fit-map", "map.safetensors", "--old", "module..pth", "--new", "newer.pth"]
    assert main([*fit, "--config", "whole.yaml", *ALLOW, "--images", "new", "--quiet"]) == 0
    found = EmbeddingMap.load(Path("map.safetensors"))
    assert [Path(model["weights"]).name for model in (found.old, found.new) if model] == [
        "module..pth",
        "newer.pth",
    ]


def test_vectors_of_a_checkpoint_are_searched_with_its_images(net: nn.Module) -> None:
    import numpy as np

    np.save("rows.npy", embedded(net, "old").numpy())
    assert main(["gallery", "import", "rows.npy", "of.gallery", *NESTED, *ALLOW]) == 0
    assert main(["gallery", "search", "of.gallery", "old", *ALLOW]) == 0
    assert main(["gallery", "import", "rows.npy", "named.gallery", "--model", "mine"]) == 0
    assert main(["gallery", "search", "named.gallery", "old"]) == 1
    assert main(["gallery", "search", "named.gallery", "old", *NESTED, *ALLOW]) == 0


def states(file: str) -> dict[str, torch.Tensor]:
    return {k: t for k, t in load_file(file).items() if k.startswith(("trunk.", "embedder."))}


@pytest.mark.slow
def test_an_update_and_what_follows_it(net: nn.Module, capsys: Capture) -> None:
    update = ["update", "--data", "new", *ALLOW, *QUICK, "--test", "old"]
    assert main([*update, "--out", "new.safetensors", *NESTED]) == 0, capsys.readouterr().err
    learned = states("new.safetensors")
    names = {f"trunk.{name}" for name in net.state_dict()}
    assert learned.keys() == names
    assert not torch.equal(learned["trunk.head.weight"], net.state_dict()["head.weight"])
    # What was written says what model it is of, but imports nothing by itself.
    follow = ["--weights", "new.safetensors", "--out", "newer.safetensors"]
    assert main([*update[:3], *QUICK, *follow]) == 2
    assert "write --allow-imports own_net if you trust it" in capsys.readouterr().err
    assert main([*update, *follow]) == 0
    newest = ["--weights", "newer.safetensors", *ALLOW]
    assert main(["gallery", "build", "old", "new.gallery", *newest]) == 0
    state = {k.removeprefix("trunk."): t for k, t in states("newer.safetensors").items()}
    net.load_state_dict(state)
    torch.testing.assert_close(
        Gallery.load(Path("new.gallery")).vectors, embedded(net.eval(), "old"), atol=1e-5, rtol=0
    )
    assert main(["report", "newer_update"]) == 0


@pytest.mark.slow
def test_a_config_from_a_checkpoint(net: nn.Module, capsys: Capture) -> None:
    parts = ["--weights", "state_dict, model..pth", "--config", "parts.yaml"]
    assert main(["init", "grown", "--data", "new", *parts, *ALLOW]) == 0
    written = yaml.safe_load(Path("grown.yaml").read_text())
    assert written["allow_imports"] == ["own_net"]
    assert main(["validate", "grown.yaml"]) == 0
    run = ["run", "grown.yaml", "strategies=[pretrained, correlation]", *QUICK]
    assert main(run) == 0, capsys.readouterr().err
    kept = states("runs/grown/pretrained/task_1/model.safetensors")
    expected = {
        "trunk." + key.removeprefix("backbone.") if "backbone" in key else "embedder." + key[5:]: t
        for key, t in net.state_dict().items()
    }
    torch.testing.assert_close(kept, expected, rtol=0, atol=0)


def test_validate_loads_the_weights(net: nn.Module, capsys: Capture) -> None:
    assert main(["init", "grown", "--data", "new", *NESTED, *ALLOW]) == 0
    assert main(["validate", "grown.yaml"]) == 0
    capsys.readouterr()
    assert main(["validate", "grown.yaml", "models.trunk.own_net:Net.width=9"]) == 1
    said = capsys.readouterr().err
    assert "module._orig_mod..pth under 'module.' does not hold the weights of Net" in said
    assert "head.weight (8, 24) instead of (9, 24)" in said
    assert not Path("runs").exists()


def test_what_cannot_be_told_is_asked_for(net: nn.Module, capsys: Capture) -> None:
    torch.save({"student": net.state_dict(), "teacher": net.state_dict()}, "two.pth")
    build = ["gallery", "build", "old", "shop.gallery", "--config", "whole.yaml", *ALLOW]
    assert main([*build, "--weights", "two.pth"]) == 1
    said = capsys.readouterr().err
    assert "fit Net under 'student.', 'teacher.'" in said
    assert "--weights-prefix" in said
    assert main([*build, "--weights", "two.pth", "--weights-prefix", "student."]) == 0
    assert main(["gallery", "search", "shop.gallery", "old", *ALLOW]) == 0
    capsys.readouterr()
    assert main(["init", "other", "--data", "new", "--config", "whole.yaml"]) == 2
    assert "--weights-prefix are about --weights; name that file too" in capsys.readouterr().err
    trunk = {"models": {"trunk": "own_net:Backbone"}, "transforms": TRANSFORMS}
    Path("trunk.yaml").write_text(yaml.safe_dump(trunk))
    half = ["gallery", "build", "old", "half.gallery", "--config", "trunk.yaml", *ALLOW]
    assert main([*half, "--weights", "module..pth"]) == 1
    assert "weights under 'module.head.' too" in capsys.readouterr().err
    torch.save(net.backbone.state_dict(), "backbone.pth")
    parts = [*half[:4], "--config", "parts.yaml", *ALLOW, "--weights", "backbone.pth"]
    assert main(parts) == 1
    assert "(an embedder's by its own weights_file, on the command line --embedder)" in (
        capsys.readouterr().err
    )
    torch.save(net.head.state_dict(), "head.pth")
    assert main([*parts, "--embedder", "head.pth"]) == 0
    vectors = Gallery.load(Path("half.gallery")).vectors
    torch.testing.assert_close(vectors, embedded(net, "old"), atol=1e-5, rtol=0)
    assert main(["gallery", "search", "half.gallery", "old", *ALLOW]) == 0
