from __future__ import annotations

from typing import Any

import pytest

from pml_incremental.config.layout import canonical
from pml_incremental.config.yaml_files import Origins, merge

LOSS = ("loss_funcs", "metric_loss")


def loss(value: Any) -> dict[str, Any]:
    return {"loss_funcs": {"metric_loss": value}}


@pytest.mark.parametrize(
    ("base", "new", "merged"),
    [
        ({"seed": 1, "name": "a"}, {"seed": 2}, {"seed": 2, "name": "a"}),
        ({"num_epochs": [1, 2]}, {"num_epochs": [3]}, {"num_epochs": [3]}),
        # the same class: arguments are merged
        (loss({"A": {"x": 1, "y": 1}}), loss({"A": {"y": 2}}), loss({"A": {"x": 1, "y": 2}})),
        (loss({"A": {"x": 1}}), loss("A"), loss({"A": {"x": 1}})),
        # another class: replaced, arguments and all
        (loss({"A": {"x": 1}}), loss({"B": {}}), loss({"B": {}})),
        (loss({"A": {"x": 1}}), loss("B"), loss({"B": {}})),
        (
            loss({"A": {"distance": {"C": {"p": 1}}, "x": 1}}),
            loss({"A": {"distance": {"D": {}}}}),
            loss({"A": {"distance": {"D": {}}, "x": 1}}),
        ),
        # what is no object is merged however its keys are called
        (
            loss({"A": {"x": {"a": 1}}}),
            loss({"A": {"x": {"b": 2}}}),
            loss({"A": {"x": {"a": 1, "b": 2}}}),
        ),
        ({"sampler": {"A": {}}}, {"sampler": None}, {"sampler": None}),
        (
            {"optimizers": {"a": {"A": {}}}},
            {"optimizers": {"b": "B"}},
            {"optimizers": {"a": {"A": {}}, "b": {"B": {}}}},
        ),
    ],
)
def test_merge(base: Any, new: Any, merged: Any) -> None:
    assert merge(canonical(base), canonical(new)) == merged


def test_origins_know_the_nearest_key_above() -> None:
    origins = Origins("a.yaml, b.yaml")
    origins.add({"metric_loss": {"A": {"x": 1}}}, ("loss_funcs",), "a.yaml")
    origins.add({"A": {"x": 2}}, LOSS, "b.yaml")
    assert origins.of((*LOSS, "A", "x")) == "b.yaml"
    assert origins.of((*LOSS, "A", "missing")) == "b.yaml"
    assert origins.of(("loss_funcs", "other")) == "a.yaml"
    assert origins.of(("loss_funcs",)) == "a.yaml, b.yaml"
    assert origins.of(("dataset",)) == "a.yaml, b.yaml"


def test_the_origins_of_a_whole_are_those_of_its_parts() -> None:
    origins = Origins()
    origins.add([1, 2, 3], ("num_epochs",), "a.yaml")
    origins.add(5, ("num_epochs", 0), "command line")
    assert origins.of(("num_epochs",)) == "a.yaml, command line"
    origins.forget_all_but({"num_epochs": [1]})
    assert ("num_epochs", 1) not in origins.known
    assert ("num_epochs", 0) in origins.known
