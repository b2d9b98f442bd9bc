import copy

import pytest
import torch
from torch import nn

from pml_incremental.regularizers import EWC, OnlineEWC


def regression(seed=0, n=20, d=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, d, generator=generator, dtype=torch.float64)
    targets = torch.randn(n, generator=generator, dtype=torch.float64)
    return images, targets


def linear(d=4):
    torch.manual_seed(0)
    return nn.Linear(d, 1, bias=False).double()


def consolidate(ewc, model, images, targets, batch_size=1):
    batches = zip(images.split(batch_size), targets.split(batch_size), strict=True)
    ewc.consolidate(
        model, batches, lambda batch: 0.5 * (model(batch[0]).squeeze(1) - batch[1]).square().mean()
    )


@pytest.mark.parametrize("batch_size", [1, 5])
def test_fisher_of_least_squares_in_closed_form(batch_size):
    """The gradient of each batch is squared."""
    model, (images, targets) = linear(), regression()
    ewc = EWC()
    consolidate(ewc, model, images, targets, batch_size)
    residuals = images @ model.weight.detach().squeeze(0) - targets
    gradients = (residuals.unsqueeze(1) * images).reshape(-1, batch_size, 4).mean(dim=1)
    state = ewc.state_dict()
    torch.testing.assert_close(
        state["importance/weight"].squeeze(0), gradients.square().mean(dim=0)
    )
    torch.testing.assert_close(state["anchor/weight"], model.weight.detach())


def test_several_tasks_equal_the_sum_of_their_penalties_and_the_state_does_not_grow():
    model, together, alone = linear(), EWC(), []
    for task in range(3):
        with torch.no_grad():
            model.weight += torch.randn(1, 4, dtype=torch.float64)
        images, targets = regression(seed=task)
        consolidate(together, model, images, targets)
        assert sum(tensor.numel() for tensor in together.state_dict().values()) == 2 * 4 + 1
        alone.append(EWC())
        consolidate(alone[-1], model, images, targets)
        for _ in range(2):
            probe = copy.deepcopy(model)
            with torch.no_grad():
                probe.weight += torch.randn(1, 4, dtype=torch.float64)
            values = together.penalty(probe), sum(ewc.penalty(probe) for ewc in alone)
            torch.testing.assert_close(*values)
            gradients = [torch.autograd.grad(value, probe.weight)[0] for value in values]
            torch.testing.assert_close(*gradients)


def test_weight_that_never_mattered_is_free():
    model, (images, targets) = linear(), regression()
    images[:, 2] = 0
    ewc = EWC()
    for _ in range(2):
        consolidate(ewc, model, images, targets)
    with torch.no_grad():
        model.weight[0, 2] += 100
    penalty = ewc.penalty(model)
    assert penalty == 0
    penalty.backward()
    assert model.weight.grad.isfinite().all()


def loss_on(model):
    return lambda images: model(images).square().mean()


def test_importance_decays_and_the_anchor_moves():
    torch.manual_seed(0)
    model, online = nn.Linear(3, 2).double(), OnlineEWC(decay=0.7)
    fishers = []
    for _ in range(3):
        with torch.no_grad():
            model.weight += torch.randn(2, 3)
        images = torch.randn(5, 4, 3).double()
        online.consolidate(model, images, loss_on(model))
        alone = EWC()
        alone.consolidate(model, images, loss_on(model))
        fishers.append(alone.state_dict()["importance/weight"])
        assert online.penalty(model) == 0
    expected = 0.7**2 * fishers[0] + 0.7 * fishers[1] + fishers[2]
    torch.testing.assert_close(online.state_dict()["importance/weight"], expected)
    assert torch.equal(online.state_dict()["anchor/weight"], model.weight.detach())


def test_first_task_is_that_of_ewc():
    torch.manual_seed(0)
    model, images = nn.Linear(3, 2).double(), torch.randn(5, 4, 3).double()
    penalties = []
    for regularizer in (EWC(), OnlineEWC()):
        regularizer.consolidate(model, images, loss_on(model))
        with torch.no_grad():
            shifted = nn.Linear(3, 2).double()
            shifted.load_state_dict({k: v + 0.5 for k, v in model.state_dict().items()})
        penalties.append(regularizer.penalty(shifted))
    torch.testing.assert_close(*penalties)


def test_bad_decay():
    for decay in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="decay must be from 0 to 1"):
            OnlineEWC(decay)
