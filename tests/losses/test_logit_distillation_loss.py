import pytest
import torch

from pml_incremental.functional import logit_distillation
from pml_incremental.losses import LogitDistillationLoss


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_is_the_divergence_on_the_old_classes(temperature):
    student, teacher = torch.randn(6, 5), torch.randn(6, 3)
    value = LogitDistillationLoss(temperature)(student, ref_emb=teacher)
    torch.testing.assert_close(value, logit_distillation(student, teacher, temperature).mean())


def test_default_temperature_is_that_of_the_paper():
    assert LogitDistillationLoss().temperature == 2.0


def test_teacher_with_more_classes():
    with pytest.raises(ValueError, match="student has logits for 3 classes but the teacher for 4"):
        LogitDistillationLoss()(torch.zeros(2, 3), ref_emb=torch.zeros(2, 4))


def test_bad_temperature():
    with pytest.raises(ValueError, match="temperature must be positive"):
        LogitDistillationLoss(-1.0)
