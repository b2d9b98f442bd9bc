from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from torchvision import transforms

from pml_incremental.config import ConfigError, ObjectSpec
from pml_incremental.models import MLP

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
KWARGS = st.dictionaries(st.sampled_from(["distance", "reducer", "losses", "margin"]), JSON)


@pytest.mark.parametrize("written", ["Adam", {"Adam": None}, {"Adam": {}}])
def test_forms_without_arguments(written: Any) -> None:
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
def test_malformed_objects(written: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ObjectSpec.parse(written)


@given(st.text(min_size=1), KWARGS)
def test_dumping_and_parsing_gives_the_same(name: str, kwargs: dict[str, Any]) -> None:
    spec = ObjectSpec(class_name=name, kwargs=kwargs)
    assert ObjectSpec.parse(spec.model_dump()) == spec


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ObjectSpec(class_name="A").class_name = "B"  # type: ignore[misc]


def test_objects_within_objects_are_built() -> None:
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


def test_lists_and_mappings_of_objects_are_built() -> None:
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


def test_offered_arguments_go_where_there_is_a_parameter() -> None:
    offered = {"num_classes": 7, "embedding_size": 16}
    arcface = ObjectSpec.parse("ArcFaceLoss").build("loss", **offered)
    assert arcface.W.shape == (16, 7)
    ObjectSpec.parse("TripletMarginLoss").build("loss", **offered)  # has no such parameters
    memory = ObjectSpec.parse({"CrossBatchMemory": {"loss": "ArcFaceLoss"}})
    with pytest.raises(Exception, match="not supported for ArcFaceLoss"):  # it was built, though
        memory.build("loss", **offered)


def test_what_the_config_says_comes_before_what_is_offered() -> None:
    spec = ObjectSpec.parse({"ArcFaceLoss": {"num_classes": 3}})
    assert spec.build("loss", num_classes=7, embedding_size=16).W.shape == (16, 3)


def test_optimizer_and_model() -> None:
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


def test_a_model_is_filled_from_its_weights_file(tmp_path: Path) -> None:
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


class Embedder(torch.nn.Module):
    """Of a user, whose last layer has the name of a classification layer."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(in_features, 3)


def test_the_last_layer_of_an_embedder_is_filled_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_module", types.SimpleNamespace(Embedder=Embedder))  # type: ignore[arg-type]
    trained = Embedder(6)
    torch.save(trained.state_dict(), tmp_path / "model.pth")
    written = {"my_module:Embedder": {"weights_file": str(tmp_path / "model.pth")}}
    embedder = ObjectSpec.parse(written).build("model", in_features=6)
    torch.testing.assert_close(embedder.fc.weight, trained.fc.weight)


def test_enum_names_become_members() -> None:
    resize = ObjectSpec.parse({"Resize": {"size": 8, "interpolation": "NEAREST"}}).build(
        "transform"
    )
    assert resize.interpolation is transforms.InterpolationMode.NEAREST
    assert resize(torch.zeros(1, 4, 4)).shape == (1, 8, 8)


def test_unknown_class() -> None:
    with pytest.raises(ConfigError, match="did you mean 'NCALoss'"):
        ObjectSpec.parse("NCALos").build("loss")
