import copy

import torch
from torch import nn

from pml_incremental.regularizers import EWC


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


def test_fisher_of_least_squares_in_closed_form():
    model, (images, targets) = linear(), regression()
    ewc = EWC()
    consolidate(ewc, model, images, targets)
    residuals = images @ model.weight.detach().squeeze(0) - targets
    fisher = (residuals.unsqueeze(1) * images).square().mean(dim=0)
    state = ewc.state_dict()
    torch.testing.assert_close(state["importance/weight"].squeeze(0), fisher)
    torch.testing.assert_close(state["anchor/weight"], model.weight.detach())


def test_larger_batches_square_the_gradient_of_each_batch():
    model, (images, targets) = linear(), regression()
    ewc = EWC()
    consolidate(ewc, model, images, targets, batch_size=5)
    residuals = images @ model.weight.detach().squeeze(0) - targets
    gradients = (residuals.unsqueeze(1) * images).reshape(4, 5, 4).mean(dim=1)
    torch.testing.assert_close(
        ewc.state_dict()["importance/weight"].squeeze(0), gradients.square().mean(dim=0)
    )


def test_several_tasks_equal_the_sum_of_their_penalties():
    model, together, alone = linear(), EWC(), []
    for task in range(3):
        with torch.no_grad():
            model.weight += torch.randn(1, 4, dtype=torch.float64)
        images, targets = regression(seed=task)
        consolidate(together, model, images, targets)
        alone.append(EWC())
        consolidate(alone[-1], model, images, targets)
        for _ in range(2):
            probe = copy.deepcopy(model)
            with torch.no_grad():
                probe.weight += torch.randn(1, 4, dtype=torch.float64)
            expected = sum(ewc.penalty(probe) for ewc in alone)
            torch.testing.assert_close(together.penalty(probe), expected)
            gradients = [
                torch.autograd.grad(value, probe.weight)[0]
                for value in (together.penalty(probe), expected)
            ]
            torch.testing.assert_close(*gradients)


def test_state_does_not_grow_with_the_tasks():
    model, ewc, sizes = linear(), EWC(), []
    for task in range(3):
        consolidate(ewc, model, *regression(seed=task))
        sizes.append(sum(tensor.numel() for tensor in ewc.state_dict().values()))
    assert sizes == [2 * 4 + 1] * 3


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
