import pytest
import torch
from torch import nn

from pml_incremental.regularizers import SynapticIntelligence


class Quadratic(nn.Module):
    """The loss is sum_k a_k theta_k^2 / 2."""

    def __init__(self, start=(1.0, -2.0, 0.5)):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.curvature = torch.tensor([1.0, 0.3, 4.0], dtype=torch.float64)

    def forward(self):
        return (self.curvature * self.theta.square()).sum() / 2


def train(model, si, steps, lr=1e-3, maximize=False):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, maximize=maximize)
    for _ in range(steps):
        optimizer.zero_grad()
        model().backward()
        si.before_step(model)
        optimizer.step()
        si.after_step(model)


def test_path_integral_is_the_decrease_of_the_loss():
    model, si = Quadratic(), SynapticIntelligence()
    start, before = model.theta.detach().clone(), model().item()
    train(model, si, 1000)
    path = si.state_dict()["path/theta"]
    assert path.sum().item() == pytest.approx(before - model().item(), rel=0.01)
    by_weight = model.curvature * (start.square() - model.theta.detach().square()) / 2
    torch.testing.assert_close(path, by_weight, rtol=0.01, atol=0)


def test_importance_is_the_path_over_the_squared_move():
    model, si = Quadratic(), SynapticIntelligence(damping=0.2)
    start = model.theta.detach().clone()
    train(model, si, 100)
    path = si.state_dict()["path/theta"]
    si.consolidate(model)
    end, state = model.theta.detach(), si.state_dict()
    torch.testing.assert_close(state["importance/theta"], path / ((end - start).square() + 0.2))
    torch.testing.assert_close(state["anchor/theta"], end)
    assert set(state) == {"importance/theta", "anchor/theta"}


def test_importances_of_tasks_add_up_and_the_penalty_is_taken_out_of_the_path():
    model, si = Quadratic(), SynapticIntelligence()
    train(model, si, 50)
    si.consolidate(model)
    first = si.state_dict()["importance/theta"]
    start = model.theta.detach().clone()
    expected = torch.zeros(3, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (model() + 0.7 * si.penalty(model)).backward()
        before = model.theta.detach().clone()
        si.before_step(model, penalty_weight=0.7)
        optimizer.step()
        si.after_step(model)
        expected -= model.curvature * before * (model.theta.detach() - before)
    torch.testing.assert_close(si.state_dict()["path/theta"], expected)
    si.consolidate(model)
    moved = (model.theta.detach() - start).square()
    importance = si.state_dict()["importance/theta"]
    torch.testing.assert_close(importance, first + expected / (moved + si.damping))


def test_steps_that_raise_the_loss_give_no_negative_importance():
    model, si = Quadratic(), SynapticIntelligence()
    train(model, si, 20, maximize=True)
    assert si.state_dict()["path/theta"].max() < 0
    si.consolidate(model)
    assert si.state_dict()["importance/theta"].eq(0).all()


def test_parameter_without_gradient_gets_no_path():
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1)})
    si, optimizer = SynapticIntelligence(), torch.optim.SGD(model.parameters(), lr=0.1)
    model["used"](torch.ones(1, 2)).sum().backward()
    si.before_step(model)
    optimizer.step()
    si.after_step(model)
    si.consolidate(model)
    assert si.state_dict()["importance/unused.weight"].eq(0).all()
    assert si.state_dict()["importance/used.weight"].max() > 0


def test_each_task_starts_anew_and_calls_in_another_order_are_refused():
    model, si = Quadratic(), SynapticIntelligence()
    train(model, si, 3)
    si.consolidate(model)
    with torch.no_grad():
        model.theta += 5
    train(model, si, 1)
    assert si.state_dict()["start/theta"].max() > 4
    with pytest.raises(RuntimeError, match="after_step was called without before_step"):
        si.after_step(model)
    with pytest.raises(ValueError, match="saw no training step of this task"):
        SynapticIntelligence().consolidate(Quadratic())


def test_bad_damping():
    for damping in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="damping must be positive"):
            SynapticIntelligence(damping)
