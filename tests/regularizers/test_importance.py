"""What EWC, online EWC and MAS share: one streaming pass at the end of a task."""

import copy

import pytest
import torch
from torch import nn

from pml_incremental.regularizers import EWC, MAS, OnlineEWC


@pytest.fixture(params=[EWC, OnlineEWC, MAS])
def regularizer(request):
    return request.param()


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))


def batches(count=3):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(6, 4, generator=generator) for _ in range(count))


def forward_of(regularizer, model):
    if regularizer.importance_from == "output":
        return model
    return lambda images: model(images).square().mean()


def test_leaves_model_and_gradients_alone(regularizer):
    model = make_model()
    model[2].eval()
    model(torch.randn(6, 4)).sum().backward()
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    regularizer.consolidate(model, batches(), forward_of(regularizer, model))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_restores_modes_after_an_error_and_works_where_gradients_are_off(regularizer):
    model = make_model()
    with pytest.raises(ZeroDivisionError):
        regularizer.consolidate(model, batches(), lambda images: 1 / 0)
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        regularizer.consolidate(model, batches(), forward_of(regularizer, model))
    assert regularizer.state_dict()["importance/3.weight"].max() > 0


def test_a_parameter_that_the_value_does_not_use_has_no_importance(regularizer):
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "unused": nn.Linear(4, 3)})
    regularizer.consolidate(model, batches(), forward_of(regularizer, model["used"]))
    state = regularizer.state_dict()
    assert state["importance/unused.weight"].eq(0).all()
    assert state["importance/used.weight"].max() > 0


def test_what_cannot_be_consolidated(regularizer):
    model = make_model()
    forward = forward_of(regularizer, model)
    with pytest.raises(ValueError, match="consolidate got no batches: pass the training batches"):
        regularizer.consolidate(model, iter([]), forward)
    assert not regularizer.state_dict()
    with pytest.raises(ValueError, match="got a value without gradient"):
        regularizer.consolidate(model, batches(), lambda images: forward(images).detach())
    with pytest.raises(ValueError, match="found no trainable parameter"):
        regularizer.consolidate(model.requires_grad_(False), batches(), forward)


def test_values_that_are_not_finite_change_nothing(regularizer):
    model = make_model()
    forward = forward_of(regularizer, model)
    regularizer.consolidate(model, batches(), forward)
    before = regularizer.state_dict()
    with pytest.raises(ValueError, match="non-finite importance for parameter"):
        regularizer.consolidate(model, batches(), lambda images: forward(images) * float("nan"))
    after = regularizer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", [EWC, OnlineEWC])
@pytest.mark.parametrize(("value", "got"), [(torch.zeros(2), r"shape \(2,\)"), (1.0, "float")])
def test_loss_that_is_no_scalar(kind, value, got):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs one scalar .* got {got}"):
        kind().consolidate(make_model(), batches(), lambda images: value)
