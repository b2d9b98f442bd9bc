import pytest
import torch
from torch import nn

from pml_incremental.regularizers import EWC, OnlineEWC


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


@pytest.mark.parametrize("decay", [-0.1, 1.5, float("nan")])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match="decay must be from 0 to 1"):
        OnlineEWC(decay)
