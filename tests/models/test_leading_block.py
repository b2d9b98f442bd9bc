import pytest
import torch
from torch import nn

from pml_incremental.models import copy_leading_block


@pytest.mark.parametrize(("old", "new"), [((4, 2), (4, 3)), ((4, 2), (6, 2)), ((4, 2), (4, 2))])
def test_the_old_fills_the_first_rows_and_columns(old, new):
    small, large = nn.Linear(*old), nn.Linear(*new)
    before = large.weight.detach().clone()
    copy_leading_block(small, large)
    rows, columns = small.weight.shape
    assert torch.equal(large.weight[:rows, :columns], small.weight)
    assert torch.equal(large.weight[rows:], before[rows:])
    assert torch.equal(large.weight[:, columns:], before[:, columns:])
    assert torch.equal(large.bias[:rows], small.bias)


@pytest.mark.parametrize(
    ("new", "found"),
    [(nn.Linear(4, 1), r"\(1, 4\)"), (nn.Linear(3, 3), r"\(3, 3\)"), (nn.ReLU(), "nothing of")],
)
def test_what_does_not_fit_is_named(new, found):
    with pytest.raises(ValueError, match=rf"weight of shape \(2, 4\) does not fit into {found}"):
        copy_leading_block(nn.Linear(4, 2), new)
