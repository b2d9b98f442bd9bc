"""Trunks that people start from today, with random weights: runs, scripts, updates, galleries."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from pytorch_metric_learning.losses import TripletMarginLoss
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms

from pml_incremental.cli import main
from pml_incremental.config import ObjectSpec, load_config
from pml_incremental.datasets import ImageFolder
from pml_incremental.gallery import Gallery
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import tensors_under
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TRUNKS = {
    "timm ViT": {"timm_trunk": {"name": "test_vit", "img_size": 32}},
    "timm ConvNeXt": {"timm_trunk": {"name": "test_convnext"}},
    "DINOv2": {"transformers_trunk": {"name": "dinov2", **SMALL}},
    "CLIP": {"transformers_trunk": {"name": "clip_vision_model", **SMALL, "intermediate_size": 32}},
    "SigLIP": {
        "transformers_trunk": {"name": "siglip_vision_model", **SMALL, "intermediate_size": 32}
    },
    "own module": {"own_tokens:Tokens": {"width": 16}},
}
OWN = """
import torch
from torch import nn

class Tokens(nn.Module):
    '''A module of one's own, whole: patches, a layer, the mean of the tokens.'''

    def __init__(self, width):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0, batch_first=True)
        self.head = nn.Linear(width, 8)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).mT
        return self.head(self.layer(tokens).mean(1))
"""
QUICK = ["threads=1", "--quiet"]


def spec_of(kind: str) -> ObjectSpec:
    package = "timm" if "timm" in kind else "transformers"
    if kind != "own module":
        pytest.importorskip(package, reason=f"needs the extra {package}")
    return ObjectSpec.parse(TRUNKS[kind])


@pytest.fixture
def world(draw_classes, tmp_path, monkeypatch):
    draw_classes(tmp_path / "old", "abcdef", images=6)
    draw_classes(tmp_path / "new", "uvwx", images=6, seed=2)
    (tmp_path / "own_tokens.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def config_of(kind):
    size = {"Resize": {"size": [32, 32]}}
    values = {
        "dataset": {"ImageFolder": {"root": "old"}},
        "scenario": {"ClassIncrementalScenario": {"classes_per_task": [3, 3]}},
        "transforms": {"train": [size], "eval": [size]},
        "models": {"trunk": TRUNKS[kind], "embedder": {"MLP": {"layer_sizes": [8]}}},
        "loss_funcs": {"metric_loss": "TripletMarginLoss"},
        "optimizers": {"trunk_optimizer": "Adam", "embedder_optimizer": "Adam"},
        "trainer": {"IncrementalMetricLoss": {"batch_size": 12, "iterations_per_epoch": 2}},
        "num_epochs": 1,
        "strategies": ["function-matching"],
    }
    if kind == "own module":  # which ends in its embeddings
        del values["models"]["embedder"], values["optimizers"]["embedder_optimizer"]
        values["allow_imports"] = ["own_tokens"]
    return values


@pytest.mark.parametrize("kind", TRUNKS)
def test_from_a_run_to_an_updated_gallery_and_its_report(world, kind, capsys):
    spec = spec_of(kind)
    Path("run.yaml").write_text(yaml.safe_dump(config_of(kind)))
    assert main(["validate", "run.yaml"]) == 0, capsys.readouterr().err
    assert main(["run", "run.yaml", *QUICK]) == 0, capsys.readouterr().err
    stage = Path("runs/run/function-matching/task_2")
    allow = ["--allow-imports", "own_tokens"] if kind == "own module" else []
    weights = ["--weights", str(stage / "model.safetensors"), *allow]
    assert main(["gallery", "build", "old", "old.gallery", *weights, "--quiet"]) == 0
    # The same network, built and filled in a script.
    tensors = load_file(stage / "model.safetensors")
    trunk = spec.build("model").eval()
    trunk.load_state_dict(tensors_under("trunk.", tensors))
    embedder = nn.Sequential() if allow else nn.Sequential(nn.LazyLinear(8))
    embedder.load_state_dict(tensors_under("embedder.", tensors))
    files = sorted(Path("old").rglob("*.png"))
    prepare = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    images = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        expected = nn.functional.normalize(embedder(trunk(images)))
    vectors = Gallery.load(Path("old.gallery")).vectors
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)

    new = ["--data", "new", "--out", "new.safetensors", "num_epochs=1", *QUICK]
    assert main(["update", *weights, *new]) == 0, capsys.readouterr().err
    moved = [
        "gallery",
        "update",
        "old.gallery",
        "new.gallery",
        "--images",
        "new",
        "--queries",
        "old",
    ]
    assert main([*moved, "--weights", "new.safetensors", *allow, "--quiet"]) == 0
    assert main(["report", "runs/run", "--details", "--quiet"]) == 0
    assert "function-matching" in Path("runs/run/report.html").read_text()


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_step_in_a_script(world, kind):
    torch.manual_seed(0)
    models = {"trunk": spec_of(kind).build("model"), "embedder": nn.Identity()}
    before = copy.deepcopy(models["trunk"].state_dict())
    prepare = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    trainer = IncrementalMetricLoss(
        models=models,
        teacher=Teacher.snapshot(models),
        loss_funcs={
            "metric_loss": TripletMarginLoss(),
            "correlation_loss": CorrelationDistillationLoss(),
        },
        loss_weights={"metric_loss": 1, "correlation_loss": 10},
        optimizers={"trunk_optimizer": torch.optim.Adam(models["trunk"].parameters(), 1e-3)},
        dataset=ImageFolder("new", transform=prepare),
        batch_size=12,
        iterations_per_epoch=1,
    )
    trainer.train(num_epochs=1)
    after = models["trunk"].state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert trainer.teacher.trunk.state_dict().keys() == before.keys()
    for name, tensor in trainer.teacher.trunk.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_preprocessing_of_timm_is_written_into_the_config(world, capsys):
    timm = pytest.importorskip("timm", reason="needs the extra timm")
    values = config_of("timm ViT")
    values["transforms"] = "from_trunk"
    Path("run.yaml").write_text(yaml.safe_dump(values))
    config = load_config([Path("run.yaml")])
    cfg = timm.get_pretrained_cfg("test_vit")
    resize, crop, _, normalize = config.transforms.eval
    assert resize.kwargs == {"size": int(32 / cfg.crop_pct), "interpolation": cfg.interpolation}
    assert crop.kwargs == {"size": 32}
    assert normalize.kwargs == {"mean": list(cfg.mean), "std": list(cfg.std)}
    assert config.transforms.train[-1] == normalize
    # As timm itself prepares them.
    image = Image.open("old/a/0.png").convert("RGB")
    ours = transforms.Compose([spec.build("transform") for spec in config.transforms.eval])
    data = timm.data.resolve_data_config({"input_size": (3, 32, 32)}, pretrained_cfg=cfg.to_dict())
    torch.testing.assert_close(ours(image), timm.data.create_transform(**data)(image))
    # In a description of a checkpoint it is enough too.
    torch.save(spec_of("timm ViT").build("model").state_dict(), "vit.pth")
    Path("model.yaml").write_text(
        yaml.safe_dump({"models": {"trunk": TRUNKS["timm ViT"]}, "transforms": "from_trunk"})
    )
    build = ["gallery", "build", "old", "vit.gallery", "--weights", "vit.pth"]
    assert main([*build, "--config", "model.yaml"]) == 0, capsys.readouterr().err
    recipe = json.loads(Path("vit.gallery/manifest.json").read_text())["model"]["recipe"]
    assert recipe["transforms"]["eval"][1] == {"CenterCrop": {"size": 32}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["models.trunk.timm_trunk={img_size: 64, dynamic_img_size: false}"],
            r"cannot take images of 32 x 32 pixels and 3 channels, .* Input height \(32\) doesn't",
        ),
        (
            ["transforms.train=[Resize: {size: [40, 40]}]"],
            r"cannot take images of 40 x 40 pixels .* Input height \(40\) should be divisible by",
        ),
        (
            ["models.trunk={own_outputs:as_dict: {}}"],
            r"gave a dict with maps \(1, 3, 32, 32\), pooled \(1, 3\): return pooled of it",
        ),
        (
            ["models.trunk={own_outputs:as_tuple: {}}"],
            r"gave a tuple with \[0\] \(1, 3, 32, 32\), \[1\] \(1, 3\): return \[1\] of it",
        ),
        (
            ["models.trunk={own_outputs:as_tokens: {}}"],
            r"gave \(1, 1024, 3\): tokens; return the fi",
        ),
        (["models.trunk={own_outputs:as_maps: {}}"], r"gave \(1, 3, 32, 32\): maps; pool them"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(
    world, monkeypatch, capsys, changes, message
):
    pytest.importorskip("timm", reason="needs the extra timm")
    (world / "own_outputs.py").write_text(
        "from torch import nn\n"
        "class Gives(nn.Conv2d):\n"
        "    def __init__(self, change):\n"
        "        super().__init__(3, 3, 1)\n"
        "        self.change = change\n"
        "    def forward(self, images):\n"
        "        return self.change(super().forward(images))\n"
        "def as_dict(): return Gives(lambda x: {'maps': x, 'pooled': x.mean((2, 3))})\n"
        "def as_tuple(): return Gives(lambda x: (x, x.mean((2, 3))))\n"
        "def as_tokens(): return Gives(lambda x: x.flatten(2).mT)\n"
        "def as_maps(): return Gives(lambda x: x)\n"
    )
    Path("run.yaml").write_text(yaml.safe_dump(config_of("timm ViT")))
    for command in ("validate", "run"):
        assert main([command, "run.yaml", "allow_imports=[own_outputs]", *changes]) == 1
        said = capsys.readouterr().err
        assert re.search(message, said), said
    assert not Path("runs").exists()
