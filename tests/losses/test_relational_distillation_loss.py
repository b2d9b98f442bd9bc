import pytest
import torch

from pml_incremental.functional import angle_distillation, distance_distillation
from pml_incremental.losses import RelationalDistillationLoss


@pytest.mark.parametrize("weights", [(1.0, 2.0), (0.0, 3.0), (0.5, 0.0)])
def test_weighted_sum_of_distances_and_angles(weights):
    student, teacher = torch.randn(6, 4), torch.randn(6, 3)
    value = RelationalDistillationLoss(*weights)(student, ref_emb=teacher)
    terms = distance_distillation(student, teacher), angle_distillation(student, teacher)
    expected = sum(weight * term for weight, term in zip(weights, terms, strict=True)).mean()
    torch.testing.assert_close(value, expected)


def test_default_weights_are_those_of_the_paper():
    loss = RelationalDistillationLoss()
    assert (loss.distance_weight, loss.angle_weight) == (1.0, 2.0)


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (1, float("nan")), (float("inf"), 1)])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="at least 0 and not both 0"):
        RelationalDistillationLoss(*weights)
