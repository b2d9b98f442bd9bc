import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pml_incremental.regularizers import MAS


def setting():
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False).double(), torch.randn(6, 3).double()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_importance_of_a_linear_model_in_closed_form(batch_size):
    """Of the mean gradient of each batch."""
    model, images = setting()
    mas = MAS()
    mas.consolidate(model, images.split(batch_size), model)
    weight = model.weight.detach()
    # d |W x|^2 / dW = 2 (W x) x^T
    gradients = torch.stack([2 * torch.outer(weight @ x, x) for x in images])
    expected = gradients.reshape(-1, batch_size, 2, 3).mean(dim=1).abs().mean(dim=0)
    torch.testing.assert_close(mas.state_dict()["importance/weight"], expected)


def test_importances_of_tasks_add_up():
    model, images = setting()
    mas, alone = MAS(), MAS()
    alone.consolidate(model, images.split(1), model)
    for _ in range(2):
        mas.consolidate(model, images.split(1), model)
    once, twice = (one.state_dict()["importance/weight"] for one in (alone, mas))
    torch.testing.assert_close(twice, 2 * once)


def test_outputs_that_are_normalised_or_of_another_shape():
    model, images = setting()
    with pytest.raises(ValueError, match="all outputs have length 1: pass the output before norm"):
        MAS().consolidate(model, images.split(3), lambda batch: F.normalize(model(batch)))
    for shape in ((3,), (0, 2), (3, 2, 1)):
        with pytest.raises(ValueError, match=r"MAS needs outputs of shape \(N, d\)"):
            MAS().consolidate(model, images.split(3), lambda batch, s=shape: torch.zeros(s))
