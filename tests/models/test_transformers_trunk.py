"""Trunks of transformers, from configs and folders; nothing is downloaded."""

import json
import sys

import pytest
import torch

from pml_incremental.config import ObjectSpec, load_config, resolve
from pml_incremental.config.model_sources import without_sources
from pml_incremental.models import load_weights, output_width, transformers_trunk

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
TOWERS = {
    "dinov2": {**SMALL, "patch_size": 8},
    "clip_vision_model": {**SMALL, "patch_size": 8, "intermediate_size": 64},
    "siglip_vision_model": {**SMALL, "patch_size": 8, "intermediate_size": 64},
    "convnext": {"hidden_sizes": [8, 8, 16, 32], "depths": [1, 1, 1, 1]},
}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def both_towers(folder):
    """A CLIP of images and texts, as it is published."""
    small = {**SMALL, "intermediate_size": 64}
    del small["image_size"]
    vision = {**small, "image_size": 32, "patch_size": 8}
    texts = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(vision_config=vision, text_config=texts)
    torch.manual_seed(1)
    clip = transformers.CLIPModel(config).eval()
    clip.save_pretrained(folder)
    return clip


@pytest.mark.parametrize("name", TOWERS)
def test_the_features_are_the_models_own(name):
    torch.manual_seed(0)
    trunk = transformers_trunk(name, **TOWERS[name]).eval()
    assert output_width(trunk, IMAGES) == 32
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **TOWERS[name])
    alone = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        torch.testing.assert_close(trunk(IMAGES), alone(pixel_values=IMAGES).pooler_output)


def test_tokens_are_pooled_as_asked():
    torch.manual_seed(0)
    pooled = {
        pool: transformers_trunk("dinov2", pool=pool, **TOWERS["dinov2"]).eval()
        for pool in ("pooler", "cls", "mean")
    }
    tokens = pooled["mean"].tower(pixel_values=IMAGES).last_hidden_state
    torch.testing.assert_close(pooled["mean"](IMAGES), tokens.mean(1))
    tokens = pooled["cls"].tower(pixel_values=IMAGES).last_hidden_state
    torch.testing.assert_close(pooled["cls"](IMAGES), tokens[:, 0])


def test_the_tower_of_a_folder_with_two(tmp_path):
    clip = both_towers(tmp_path)
    with torch.no_grad():
        expected = clip.vision_model(pixel_values=IMAGES).pooler_output
    trunk = transformers_trunk(str(tmp_path), pretrained=True).eval()
    torch.testing.assert_close(trunk(IMAGES), expected)
    # The same from the weights file alone, whose names begin otherwise.
    kwargs = without_sources("transformers_trunk", {"name": str(tmp_path), "pretrained": True})
    assert kwargs["name"] == "clip_vision_model"
    again = transformers_trunk(**kwargs).eval()
    load_weights(again, tmp_path / "model.safetensors")
    torch.testing.assert_close(again(IMAGES), expected)


def test_weights_say_what_model_they_are_of_without_its_folder(tmp_path):
    both_towers(tmp_path)
    given = {"name": str(tmp_path), "pretrained": True, "pool": "cls"}
    kwargs = without_sources("transformers_trunk", given)
    assert str(tmp_path) not in json.dumps(kwargs)
    torch.manual_seed(0)
    first = transformers_trunk(str(tmp_path), pool="cls").state_dict()
    torch.manual_seed(0)
    second = ObjectSpec(class_name="transformers_trunk", kwargs=kwargs).build("model").state_dict()
    torch.testing.assert_close(first, second)


def test_any_size_of_whole_patches(tmp_path):
    for name in ("clip_vision_model", "siglip_vision_model", "dinov2"):
        trunk = transformers_trunk(name, **TOWERS[name])
        assert output_width(trunk, torch.rand(1, 3, 40, 24)) == 32
        with pytest.raises(
            ValueError,
            match=r"of 36 x 30 pixels and 3 channels, .*: 36 x 30 pixe"
            r"ls cannot be cut into patches of 8: make both .* such as 32",
        ):
            output_width(trunk, torch.rand(1, 3, 30, 36))


def test_preprocessing_of_a_folder_is_written_out(tmp_path):
    both_towers(tmp_path)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 36}, crop_size=32, image_mean=[0.4, 0.5, 0.6]
    )
    processor.save_pretrained(tmp_path)
    file = tmp_path / "own.yaml"
    file.write_text(
        f"models: {{trunk: {{transformers_trunk: {{name: '{tmp_path}'}}}}}}\n"
        "transforms: from_trunk\n"
    )
    config = load_config([file], ["dataset=Glyphs", *REST])
    resize, crop, _, normalize = config.transforms.eval
    assert resize.kwargs == {"size": 36, "interpolation": "bicubic"}
    assert crop.kwargs == {"size": 32}
    assert normalize.kwargs["mean"] == [0.4, 0.5, 0.6]
    assert normalize.kwargs["std"] == list(processor.image_std)


REST = (
    "scenario=ClassIncrementalScenario",
    "loss_funcs.metric_loss=TripletMarginLoss",
    "optimizers.trunk_optimizer=Adam",
    "trainer=IncrementalMetricLoss",
    "num_epochs=1",
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dino_v2"}, r"'dino_v2' is not a type of model .*: did you mean dinov2"),
        ({"name": "dinov2", "pretrained": True}, "dinov2 is a type of model without weights"),
        ({"name": "dinov2", "hiden_size": 3}, "dinov2 of transformers has no 'hiden_size'; it has"),
        ({"name": "dinov2", "pool": "max"}, "'max' is not one of pooler, cls, mean"),
    ],
)
def test_what_there_is_not_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        transformers_trunk(**arguments)


def test_a_model_of_texts_takes_no_images():
    trunk = transformers_trunk("bert", hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(ValueError, match="PooledTower cannot take images of 32 x 32 pixels"):
        output_width(trunk, IMAGES)


def test_it_is_known_by_its_name():
    assert resolve("model", "transformers_trunk") is transformers_trunk


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pml-incremental\[transformers\]"):
        transformers_trunk("dinov2")
