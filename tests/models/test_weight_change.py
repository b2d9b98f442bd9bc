import copy

import pytest
import torch
from torch import nn

from pml_incremental.models import SmallConvNet, weight_change


def test_it_is_the_mean_over_layers_of_a_naive_loop():
    torch.manual_seed(0)
    old = {"trunk": SmallConvNet(1, width=4), "embedder": nn.Linear(16, 3)}
    new = {"trunk": SmallConvNet(1, width=4), "embedder": nn.Linear(16, 3), "classifier": nn.ReLU()}
    changes = [
        ((after - before).norm() / before.norm()).item()
        for name, model in old.items()
        for before, after in zip(model.parameters(), new[name].parameters(), strict=True)
        if before.ndim > 1
    ]
    assert len(changes) == 5
    assert weight_change(new, old).item() == pytest.approx(sum(changes) / 5)


def test_it_is_zero_at_equality_and_does_not_depend_on_a_layers_scale():
    old = {"trunk": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))}
    new = copy.deepcopy(old)
    assert weight_change(new, old) == 0
    with torch.no_grad():
        new["trunk"][0].weight *= 1.2
    expected = weight_change(new, old)
    with torch.no_grad():
        for models in (old, new):
            models["trunk"][1].weight *= 100
    torch.testing.assert_close(weight_change(new, old), expected)
    torch.testing.assert_close(expected, torch.tensor(0.1))


def test_layers_that_were_zero_and_models_without_weights_count_as_unchanged():
    old = {"trunk": nn.Linear(2, 2)}
    new = copy.deepcopy(old)
    nn.init.zeros_(old["trunk"].weight)
    assert weight_change(new, old) == 0
    assert weight_change({"trunk": nn.ReLU()}, {"trunk": nn.ReLU()}) == 0


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match=r"trunk.weight has shape \(2, 3\) and had \(2, 2\)"):
        weight_change({"trunk": nn.Linear(3, 2)}, {"trunk": nn.Linear(2, 2)})
