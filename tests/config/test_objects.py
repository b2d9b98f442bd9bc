import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from torchvision import transforms

from pml_incremental.config import ConfigError, ObjectSpec
from pml_incremental.config.objects import spec_label
from pml_incremental.models import MLP

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
KWARGS = st.dictionaries(st.sampled_from(["distance", "reducer", "losses", "margin"]), JSON)


@pytest.mark.parametrize("written", ["Adam", {"Adam": None}, {"Adam": {}}])
def test_forms_without_arguments(written):
    assert ObjectSpec.parse(written) == ObjectSpec(class_name="Adam", kwargs={})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (3, "must be one object"),
        ({}, "must be one object"),
        ({"A": {}, "B": {}}, "must be one object"),
        (["A"], "must be one object"),
        ({"margin": 0.2}, "'margin' is where a class name is expected, with 0.2"),
        ({"": {}}, "at least 1 character"),
        ({3: {}}, "valid string"),
        ({"A": {3: 1}}, "valid string"),
        ({"A": {"x": {1, 2}}}, "JSON"),
    ],
)
def test_malformed_objects(written, message):
    with pytest.raises(ValueError, match=message):
        ObjectSpec.parse(written)


@given(st.text(min_size=1), KWARGS)
def test_dumping_and_parsing_gives_the_same(name, kwargs):
    spec = ObjectSpec(class_name=name, kwargs=kwargs)
    assert ObjectSpec.parse(spec.model_dump()) == spec


def test_it_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        ObjectSpec(class_name="A").class_name = "B"


def test_objects_within_objects_are_built():
    spec = ObjectSpec.parse(
        {
            "TripletMarginLoss": {
                "margin": 0.2,
                "distance": {"LpDistance": {"p": 1}},
                "reducer": "SumReducer",
                "embedding_regularizer": {"LpRegularizer": {"p": 3, "reducer": "MeanReducer"}},
            }
        }
    )
    loss = spec.build("loss")
    assert type(loss) is losses.TripletMarginLoss
    assert loss.margin == 0.2
    assert type(loss.distance) is distances.LpDistance
    assert loss.distance.p == 1
    assert type(loss.reducer) is reducers.SumReducer or isinstance(
        loss.reducer, reducers.MultipleReducers
    )
    assert type(loss.embedding_regularizer) is regularizers.LpRegularizer
    assert loss.embedding_regularizer.p == 3


def test_lists_and_mappings_of_objects_are_built():
    listed = ObjectSpec.parse(
        {"MultipleLosses": {"losses": ["NCALoss", "CircleLoss"], "miners": [None, "HDCMiner"]}}
    ).build("loss")
    assert [type(loss) for loss in listed.losses] == [losses.NCALoss, losses.CircleLoss]
    assert type(listed.miners[1]) is miners.HDCMiner
    by_name = ObjectSpec.parse(
        {"MultipleLosses": {"losses": {"a": "NCALoss"}, "weights": {"a": 2}}}
    ).build("loss")
    assert type(by_name.losses["a"]) is losses.NCALoss
    composed = ObjectSpec.parse(
        {"RandomApply": {"transforms": ["ToTensor", {"Pad": {"padding": 2}}], "p": 1.0}}
    ).build("transform")
    assert [type(t) for t in composed.transforms] == [transforms.ToTensor, transforms.Pad]


def test_offered_arguments_go_where_there_is_a_parameter():
    offered = {"num_classes": 7, "embedding_size": 16}
    arcface = ObjectSpec.parse("ArcFaceLoss").build("loss", **offered)
    assert arcface.W.shape == (16, 7)
    ObjectSpec.parse("TripletMarginLoss").build("loss", **offered)  # has no such parameters
    memory = ObjectSpec.parse({"CrossBatchMemory": {"loss": "ArcFaceLoss"}})
    with pytest.raises(Exception, match="not supported for ArcFaceLoss"):  # it was built, though
        memory.build("loss", **offered)


def test_what_the_config_says_comes_before_what_is_offered():
    spec = ObjectSpec.parse({"ArcFaceLoss": {"num_classes": 3}})
    assert spec.build("loss", num_classes=7, embedding_size=16).W.shape == (16, 3)


def test_optimizer_and_model():
    model = ObjectSpec.parse({"MLP": {"layer_sizes": [4]}}).build("model", in_features=6, junk=1)
    assert type(model) is MLP
    assert model[0].weight.shape == (4, 6)
    optimizer = ObjectSpec.parse({"Adam": {"lr": 1e-4, "betas": [0.8, 0.9]}}).build(
        "optimizer", params=model.parameters()
    )
    assert list(optimizer.defaults["betas"]) == [0.8, 0.9]
    optimizer.zero_grad()
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()


def test_a_model_is_filled_from_its_weights_file(tmp_path):
    plain = {"MLP": {"layer_sizes": [4]}}
    trained = ObjectSpec.parse(plain).build("model", in_features=6)
    file = tmp_path / "model.pth"
    torch.save({f"embedder.{name}": p for name, p in trained.state_dict().items()}, file)
    weights = {"weights_file": str(file), "weights_prefix": "embedder."}
    spec = ObjectSpec.parse({"MLP": {**plain["MLP"], **weights}})
    torch.testing.assert_close(
        spec.build("model", in_features=6).state_dict(), trained.state_dict()
    )
    with pytest.raises(ValueError, match=r"1 of another shape: 0\.weight"):
        spec.build("model", in_features=5)


def test_enum_names_become_members():
    resize = ObjectSpec.parse({"Resize": {"size": 8, "interpolation": "NEAREST"}}).build(
        "transform"
    )
    assert resize.interpolation is transforms.InterpolationMode.NEAREST
    assert resize(torch.zeros(1, 4, 4)).shape == (1, 8, 8)


def test_unknown_class():
    with pytest.raises(ConfigError, match="did you mean 'NCALoss'"):
        ObjectSpec.parse("NCALos").build("loss")


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("fecd", "fecd"),
        ({"fecd": {"estimator": "MLPEstimator"}}, "fecd-estimator_MLPEstimator"),
        ({"fecd": {"estimator": {"MLPEstimator": {}}}}, "fecd-estimator.MLPEstimator"),
        (
            {"fecd": {"estimator": {"MLPEstimator": {"steps": 9}}, "passes": 2}},
            "fecd-estimator.MLPEstimator.steps_9-passes_2",
        ),
        ({"l2+ewc": {"l2": {}, "ewc": None}}, "l2+ewc"),
        (
            {"fecd+ewc": {"fecd": {"estimator": {"MLPEstimator": {}}}, "ewc": {"weight": 5}}},
            "fecd+ewc-ewc.weight_5-fecd.estimator.MLPEstimator",
        ),
    ],
)
def test_every_option_shows_in_the_name(spec, label):
    assert spec_label(ObjectSpec.parse(spec)) == label


def test_sum_builds_with_the_options_of_its_parts():
    spec = ObjectSpec.parse({"correlation+ewc": {"correlation": {"weight": 5}}})
    first, second = spec.build("strategy").components
    assert (first.weighted.weight, second.weight) == (5, 10_000)
