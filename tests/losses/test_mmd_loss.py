import pytest
import torch

from pml_incremental.functional import maximum_mean_discrepancy
from pml_incremental.losses import MMDLoss


def test_bandwidths():
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    value = MMDLoss([0.5, 3.0])(student, ref_emb=teacher)
    torch.testing.assert_close(value, maximum_mean_discrepancy(student, teacher, [0.5, 3.0]).mean())
    default = MMDLoss()(student, ref_emb=teacher)
    torch.testing.assert_close(default, maximum_mean_discrepancy(student, teacher).mean())


def test_brings_the_distributions_together():
    torch.manual_seed(0)
    student, teacher = (torch.randn(32, 4) + 1).requires_grad_(), torch.randn(32, 4)
    loss, optimizer = MMDLoss(), torch.optim.SGD([student], lr=5.0)
    before = loss(student, ref_emb=teacher).item()
    apart = (student.mean(dim=0) - teacher.mean(dim=0)).norm().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(student, ref_emb=teacher).backward()
        optimizer.step()
    assert loss(student, ref_emb=teacher).item() < 0.1 * before
    assert (student.mean(dim=0) - teacher.mean(dim=0)).norm() < 0.5 * apart


@pytest.mark.parametrize("bandwidths", [(), (0.0,)])
def test_bad_bandwidths(bandwidths):
    with pytest.raises(ValueError, match="bandwidths must be one or more positive numbers"):
        MMDLoss(bandwidths)


def test_teacher_of_another_width():
    with pytest.raises(ValueError, match=r"width 4 but the teacher's have 5"):
        MMDLoss()(torch.zeros(2, 4), ref_emb=torch.zeros(2, 5))
