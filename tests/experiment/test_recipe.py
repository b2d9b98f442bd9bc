import pytest

from pml_incremental.experiment.student import recipe_of


@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        ({"resnet18": {"weights": "IMAGENET1K_V1"}}, {"resnet18": {"weights": None}}),
        (
            {"pml_incremental.models:timm_trunk": {"name": "resnet10t", "pretrained": True}},
            {"pml_incremental.models:timm_trunk": {"name": "resnet10t", "pretrained": False}},
        ),
        (
            {"googlenet": {"weights": "IMAGENET1K_V1"}},
            # With weights torchvision rescales its input, and drops its auxiliary heads.
            {"googlenet": {"weights": None, "transform_input": True, "aux_logits": False}},
        ),
        ({"SmallConvNet": {"width": 4}}, {"SmallConvNet": {"width": 4}}),
    ],
)
def test_a_model_built_from_weights_loads_no_others(tiny_config, tmp_path, trunk, expected):
    config = tiny_config(tmp_path, models={"trunk": trunk})
    assert recipe_of(config)["models"]["trunk"] == expected


def test_arguments_of_others_are_theirs(tiny_config, tmp_path):
    trunk = {"collections:OrderedDict": {"pretrained": True}}
    config = tiny_config(tmp_path, allow_imports=["collections"], models={"trunk": trunk})
    assert recipe_of(config)["models"]["trunk"] == trunk
