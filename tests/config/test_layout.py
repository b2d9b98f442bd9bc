import pytest

from pml_incremental.config.layout import canonical, category_at, find_objects


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("dataset", "dataset"),
        ("models.trunk", "model"),
        ("models", None),
        ("seed", None),
        ("mining_funcs.tuple_miner.AngularMiner.distance", "distance"),
        ("loss_funcs.x.ArcFaceLoss.weight_regularizer.LpRegularizer.distance", "distance"),
        ("loss_funcs.x.MultipleLosses.losses.first", "loss"),
        ("loss_funcs.x.MultipleLosses.losses", None),
        ("loss_funcs.x.ArcFaceLoss.options.distance", None),
        ("loss_funcs.x.ArcFaceLoss", None),
    ],
)
def test_category_at(path, category):
    assert category_at(tuple(path.split("."))) == category


def test_canonical_form_of_everything():
    written = {
        "seed": 1,
        "sampler": {"MPerClassSampler": {"m": 4}},
        "models": {"trunk": "SmallConvNet", "embedder": None},
        "transforms": {"train": {"Resize": {"size": 28}, "ToTensor": None}, "eval": ["ToTensor"]},
        "strategies": {"finetune": None, "correlation": {"weight": 1}},
        "loss_funcs": {
            "metric_loss": {"CrossBatchMemory": {"loss": {"NCALoss": {"reducer": "A"}}}}
        },
    }
    expected = {
        "seed": 1,
        "sampler": {"MPerClassSampler": {"m": 4}},
        "models": {"trunk": {"SmallConvNet": {}}, "embedder": None},
        "transforms": {
            "train": [{"Resize": {"size": 28}}, {"ToTensor": {}}],
            "eval": [{"ToTensor": {}}],
        },
        "strategies": [{"finetune": {}}, {"correlation": {"weight": 1}}],
        "loss_funcs": {
            "metric_loss": {"CrossBatchMemory": {"loss": {"NCALoss": {"reducer": {"A": {}}}}}}
        },
    }
    assert canonical(written) == expected
    assert canonical(expected) == expected
    assert written["models"]["trunk"] == "SmallConvNet"


@pytest.mark.parametrize(
    "malformed", [3, ["a"], {}, {"A": 1}, {"A": {}, "B": {}}, {"A": None, "B": None}]
)
def test_canonical_leaves_malformed_objects_to_the_schema(malformed):
    assert canonical({"sampler": malformed}) == {"sampler": malformed}


def test_find_objects_goes_outer_first_and_skips_malformed_ones():
    config = canonical(
        {
            "sampler": 3,
            "loss_funcs": {
                "metric_loss": {"MultipleLosses": {"losses": ["A", {"B": {"distance": "C"}}]}}
            },
        }
    )
    found = [(category, name) for _, category, name, _ in find_objects(config)]
    assert found == [("loss", "MultipleLosses"), ("loss", "A"), ("loss", "B"), ("distance", "C")]
