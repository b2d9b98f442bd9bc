"""An exported folder is the model: for our commands, for huggingface_hub's mixin, and for ONNX."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pml_incremental.cli import main
from pml_incremental.cli.commands import app
from pml_incremental.config import ConfigError
from pml_incremental.datasets.image_files import read_rgb
from pml_incremental.experiment import EmbeddingModel
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.trained_weights import TrainedWeights

RUN = Path(__file__).parents[1] / "data/written_before/run"
STAGE = RUN / "fecd/task_3/model.safetensors"


def export(*words):
    result = CliRunner().invoke(app, ["export", *map(str, words)])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("exported") / "shop"
    code, output = export(RUN, target, "--strategy", "fecd")
    assert (code, output) == (
        0,
        f"written: {target}, with README.md, config.json, model.safetensors\n",
    )
    return target


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def embed(model, picture):
    with torch.no_grad():
        return model(model.prepare(picture).unsqueeze(0))


def test_a_file_is_prepared_as_datasets_read_it(folder, tmp_path):
    model, large = EmbeddingModel.load(folder), tmp_path / "large.jpg"
    pixels = np.random.default_rng(1).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    orientation = Image.Exif()
    orientation[0x0112] = 6
    Image.fromarray(pixels).save(large, exif=orientation)
    assert torch.equal(model.prepare(str(large)), model.prepare_rgb(read_rgb(large)))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot read the image .*bad\.png"):
        model.prepare(tmp_path / "bad.png")


def test_the_folder_is_the_model_of_the_run(folder):
    run = FinishedRun(RUN)
    expected, _ = run.embed(run.models("fecd", 3))
    model = EmbeddingModel.load(folder)
    images = torch.stack([image for image, _ in run.scenario[0].test])
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected[0])
    assert model.image_shape == tuple(images.shape[1:])


def test_the_folder_keeps_how_the_model_learned(folder):
    found = TrainedWeights.read(folder).recipe
    written = TrainedWeights.read(STAGE).recipe
    assert {**found, "tester": None} == {**written, "tester": None}
    assert found["num_epochs"] == 1
    assert found["optimizers"]["trunk_optimizer"] == {"Adam": {"lr": 0.002}}


def test_a_config_from_elsewhere_imports_nothing():
    recipe = {
        "models": {"trunk": {"colorsys:rgb_to_hsv": {}}},
        "transforms": {},
        "allow_imports": ["colorsys"],
    }
    with pytest.raises(ConfigError, match="--allow-imports colorsys if you trust it"):
        EmbeddingModel(recipe)


def test_the_card_has_what_the_run_measured(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    values = json.loads((RUN / "metrics.json").read_text())["strategies"]["fecd"]
    last = values["own/recall_at_1"]["values"][3]
    assert f"| 3 | {' | '.join(f'{100 * value:.1f}' for value in last)} |" in card
    assert "library_name: pml-incremental" in card
    assert "SmallConvNet" in card
    assert "8 numbers, of unit length" in card


def test_huggingface_hub_reads_the_folder(folder, picture):
    hub = pytest.importorskip("huggingface_hub")

    class Shared(EmbeddingModel, hub.PyTorchModelHubMixin):
        pass

    shared = Shared.from_pretrained(str(folder)).eval()
    assert torch.equal(embed(shared, picture), embed(EmbeddingModel.load(folder), picture))


def test_commands_take_the_folder_as_weights(folder, picture, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        picture.save(tmp_path / "images" / name / "1.png")
    gallery = tmp_path / "shop.gallery"
    build = ["gallery", "build", str(tmp_path / "images"), str(gallery), "--quiet"]
    assert main([*build, "--weights", str(folder)]) == 0
    assert main(["gallery", "search", str(gallery), str(tmp_path / "images"), "-k", "1",
                 "--quiet", "--out", str(tmp_path / "page.html")]) == 0  # fmt: skip
    code, output = export(folder, tmp_path / "again")
    assert code == 0, output
    again = EmbeddingModel.load(tmp_path / "again")
    assert torch.equal(embed(again, picture), embed(EmbeddingModel.load(folder), picture))


def test_a_checkpoint_of_ones_own_with_a_config(tmp_path, picture):
    recipe = {
        "models": {"trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}}},
        "transforms": {"eval": [{"Resize": {"size": [20, 20]}}]},
    }
    network = EmbeddingModel(recipe).trunk
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "own.pt")
    (tmp_path / "model.yaml").write_text(json.dumps(recipe))
    words = [tmp_path / "own.pt", tmp_path / "shared", "--config", tmp_path / "model.yaml"]
    code, output = export(*words)
    assert code == 0, output
    model = EmbeddingModel.load(tmp_path / "shared")
    expected = torch.nn.functional.normalize(network.eval()(model.prepare(picture)[None]), dim=1)
    torch.testing.assert_close(embed(model, picture), expected)
    settings = json.loads((tmp_path / "shared/config.json").read_text())
    assert settings["image_shape"] == [3, 20, 20]
    assert "own.pt" not in json.dumps(settings)


@pytest.mark.slow
def test_onnx_gives_the_same_embeddings_for_batches_of_any_size(tmp_path, picture, folder):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    code, output = export(RUN, tmp_path / "shared", "--strategy", "fecd", "--onnx")
    assert code == 0, output
    model = EmbeddingModel.load(folder)
    images = torch.rand(5, *model.image_shape)
    session = runtime.InferenceSession(tmp_path / "shared/model.onnx")
    with torch.no_grad():
        for some in (images, images[:1]):
            (found,) = session.run(None, {"images": some.numpy()})
            np.testing.assert_allclose(found, model(some).numpy(), atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == [
        *("README.md", "config.json", "model.onnx", "model.safetensors"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([RUN, "new"], "has several strategies, fecd, replay, function-matching: name one"),
        ([RUN, "new", "--strategy", "joint"], "has no strategy 'joint'"),
        ([RUN, "new", "--strategy", "fecd", "--task", "9"], "is missing"),
        ([STAGE, "new", "--task", "1"], "is no run's folder: omit --strategy and --task"),
        ([RUN / "none", "new"], "none"),
        ([STAGE, "."], ". exists: choose another name"),
    ],
)
def test_what_cannot_be_exported_is_named(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output = export(*words)
    assert code in (1, 2)
    assert message in output
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_needs_pictures(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    code, output = export(STAGE, tmp_path / "new", "--onnx")
    assert (code, "give some with --images" in output) == (1, True)


def test_the_shape_is_that_of_the_pictures(tmp_path, picture):
    shutil.copy(STAGE, tmp_path / "model.safetensors")
    (tmp_path / "images/a").mkdir(parents=True)
    picture.save(tmp_path / "images/a/1.png")
    words = [tmp_path / "model.safetensors", tmp_path / "new", "--images", tmp_path / "images"]
    assert export(*words)[0] == 0
    assert EmbeddingModel.load(tmp_path / "new").image_mode == "L"
    assert json.loads((tmp_path / "new/config.json").read_text())["image_shape"] == [1, 16, 16]
