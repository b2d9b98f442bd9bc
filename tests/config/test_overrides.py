from __future__ import annotations

from typing import Any

import pytest

from pml_incremental.config import ConfigError
from pml_incremental.config.layout import canonical
from pml_incremental.config.loading import apply_override

CONFIG = canonical(
    {
        "seed": 0,
        "num_epochs": [3, 2],
        "models": {"trunk": {"SmallConvNet": {"width": 8}}},
        "loss_funcs": {"metric_loss": {"my_pkg.losses:MyLoss": {"margin": 0.1, "distance": "A"}}},
        "transforms": {"train": [{"Resize": {"size": 3}}, {"Pad": {}}, {"Pad": {}}]},
        "strategies": ["finetune", {"correlation": {"weight": 1}}],
    }
)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", "seed", 3),
        ("name=a=b", "name", "a=b"),
        ("sampler=", "sampler", None),
        ("num_epochs=[1, 1]", "num_epochs", [1, 1]),
        ("num_epochs.1=7", "num_epochs", [3, 7]),
        ("models.trunk.SmallConvNet.width=16", "models.trunk", {"SmallConvNet": {"width": 16}}),
        (
            "models.trunk={SmallConvNet: {x: 1}}",
            "models.trunk",
            {"SmallConvNet": {"width": 8, "x": 1}},
        ),
        ("models.trunk={ResNet: {}}", "models.trunk", {"ResNet": {}}),
        ("models.trunk=resnet18", "models.trunk", {"resnet18": {}}),
        ("models.embedder.MLP.layer_sizes=[8]", "models.embedder", {"MLP": {"layer_sizes": [8]}}),
        ("sampler.a.b:C.m=1", "sampler", {"a.b:C": {"m": 1}}),
        ("strategies.1.correlation.weight=2", "strategies.1", {"correlation": {"weight": 2}}),
        ("strategies.correlation.weight=2", "strategies.1", {"correlation": {"weight": 2}}),
        ("strategies.0={lwf: {weight: 1e-2}}", "strategies.0", {"lwf": {"weight": 0.01}}),
        ("strategies={lwf: }", "strategies", [{"lwf": {}}]),
        ("transforms.train.Resize.size=5", "transforms.train.0", {"Resize": {"size": 5}}),
        ("transforms.train.2.Pad.fill=1", "transforms.train.2", {"Pad": {"fill": 1}}),
        (
            "loss_funcs.metric_loss.my_pkg.losses:MyLoss.margin=1",
            "loss_funcs.metric_loss",
            {"my_pkg.losses:MyLoss": {"margin": 1, "distance": {"A": {}}}},
        ),
        (
            "loss_funcs.metric_loss.my_pkg.losses:MyLoss.distance=B",
            "loss_funcs.metric_loss",
            {"my_pkg.losses:MyLoss": {"margin": 0.1, "distance": {"B": {}}}},
        ),
    ],
)
def test_override(override: str, path: str, value: Any) -> None:
    node, _ = apply_override(CONFIG, override)
    for key in path.split("."):
        node = node[int(key)] if isinstance(node, list) else node[key]
    assert node == value
    assert CONFIG["seed"] == 0


def test_nothing_else_changes() -> None:
    changed, path = apply_override(CONFIG, "loss_funcs.metric_loss.my_pkg.losses:MyLoss.margin=1")
    assert path == ("loss_funcs", "metric_loss", "my_pkg.losses:MyLoss", "margin")
    assert {**changed, "loss_funcs": None} == {**CONFIG, "loss_funcs": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "seed: has no key and value; write key=value"),
        ("=3", "has no key and value"),
        ("seed={a: 1", "seed: line 1"),
        ("seed.x=1", "seed: is the value 0 and holds no 'x'; set seed itself"),
        ("num_epochs.2=1", r"num_epochs\.2: num_epochs has 2 entries, counted from 0"),
        ("strategies.corelation.weight=1", r"no such entry; did you mean 'correlation'\?"),
        ("transforms.train.Pad.fill=1", "is there 2 times; write its index"),
        (
            "models.trunk.width=1",
            r"models\.trunk\.width: models\.trunk is a SmallConvNet; "
            r"write models\.trunk\.SmallConvNet\.<argument>=\.\.\.",
        ),
    ],
)
def test_overrides_that_lead_nowhere(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        apply_override(CONFIG, override)
    assert str(raised.value).startswith("command line: ")
