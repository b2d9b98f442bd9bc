import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pml_incremental.regularizers import MAS


def setting():
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False).double(), torch.randn(6, 3).double()


def test_importance_of_a_linear_model_in_closed_form():
    model, images = setting()
    mas = MAS()
    mas.consolidate(model, images.split(1), model)
    weight = model.weight.detach()
    # d |W x|^2 / dW = 2 (W x) x^T
    expected = sum((2 * torch.outer(weight @ x, x)).abs() for x in images) / 6
    torch.testing.assert_close(mas.state_dict()["importance/weight"], expected)


def test_larger_batches_take_the_size_of_the_mean_gradient():
    model, images = setting()
    mas = MAS()
    mas.consolidate(model, images.split(3), model)
    weight = model.weight.detach()
    gradients = torch.stack([2 * torch.outer(weight @ x, x) for x in images])
    expected = gradients.reshape(2, 3, 2, 3).mean(dim=1).abs().mean(dim=0)
    torch.testing.assert_close(mas.state_dict()["importance/weight"], expected)


def test_importances_of_tasks_add_up():
    model, images = setting()
    mas, alone = MAS(), MAS()
    alone.consolidate(model, images.split(1), model)
    for _ in range(2):
        mas.consolidate(model, images.split(1), model)
    torch.testing.assert_close(
        mas.state_dict()["importance/weight"], 2 * alone.state_dict()["importance/weight"]
    )


def test_normalised_output():
    model, images = setting()
    with pytest.raises(ValueError, match="all outputs have length 1: pass the output before norm"):
        MAS().consolidate(model, images.split(3), lambda batch: F.normalize(model(batch)))


@pytest.mark.parametrize("shape", [(3,), (0, 2), (3, 2, 1)])
def test_output_of_another_shape(shape):
    model, images = setting()
    with pytest.raises(ValueError, match=r"MAS needs outputs of shape \(N, d\)"):
        MAS().consolidate(model, images.split(3), lambda batch: torch.zeros(shape))
