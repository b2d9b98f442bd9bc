"""``transforms: from_trunk``."""

import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.models import ResNet18_Weights, ViT_B_16_Weights

from pml_incremental.config import ConfigError, ObjectSpec
from pml_incremental.config.trunk_transforms import trunk_transforms, with_written_transforms


def composed(spec, side="eval"):
    found = trunk_transforms(ObjectSpec.parse(spec))[side]
    return transforms.Compose([ObjectSpec.parse(step).build("transform") for step in found])


def own(pretrained_cfg=None):
    network = nn.Conv2d(3, 4, 1)
    network.pretrained_cfg = pretrained_cfg
    return network


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        ({"resnet18": {"weights": "IMAGENET1K_V1"}}, ResNet18_Weights.IMAGENET1K_V1),
        (
            {"vit_b_16": {"weights": "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1"}},
            ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        ),
    ],
)
def test_images_are_prepared_as_torchvision_does_it(spec, weights):
    pixels = torch.randint(0, 256, (3, 300, 420), dtype=torch.uint8)
    image = transforms.functional.to_pil_image(pixels)
    torch.testing.assert_close(composed(spec)(image), weights.transforms()(image))
    assert composed(spec, "train")(image).shape == composed(spec)(image).shape


def test_a_module_of_ones_own_may_say_it():
    cfg = {"input_size": [3, 20, 20], "mean": [0.5] * 3, "std": [0.1] * 3, "crop_pct": 0.8}
    spec = {f"{own.__module__}:own": {"pretrained_cfg": cfg}}
    image = transforms.functional.to_pil_image(torch.full((3, 50, 70), 0.5))
    found = composed(spec)(image)
    assert found.shape == (3, 20, 20)
    torch.testing.assert_close(
        found, torch.full((3, 20, 20), (128 / 255 - 0.5) / 0.1), atol=0.05, rtol=0
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"resnet18": {"weights": None}}, "resnet18 does not say what images it takes"),
        (
            {"resnet18": {"weights": "IMAGENET1K_V9"}},
            "resnet18.weights: IMAGENET1K_V9: did you mea",
        ),
        ({"resnet18": {"weights": 5}}, "resnet18.weights: 5: known: DEFAULT, IMAGENET1K"),
        ({"SmallConvNet": {"width": "x"}}, "models.trunk.SmallConvNet: cannot be built: "),
        ({"SmallConvNet": {}}, "no pretrained_cfg with input_size, mean, std"),
        ({f"{own.__module__}:own": {"pretrained_cfg": {"mean": [0.5]}}}, "with input_size, std"),
        ({"resnet81": {}}, "there is no model 'resnet81'"),
    ],
)
def test_what_is_not_said_is_named(spec, message):
    with pytest.raises(ConfigError) as caught:
        trunk_transforms(ObjectSpec.parse(spec))
    assert message in str(caught.value)


@pytest.mark.parametrize("models", [None, 5, {}, {"trunk": 5}, {"trunk": "resnet18"}])
def test_what_is_malformed_is_left_to_the_schema(models):
    config = {"models": models, "transforms": "from_trunk"}
    assert with_written_transforms(config) == config
