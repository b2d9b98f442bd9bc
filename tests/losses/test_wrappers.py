"""What docs/how-to/own-loss.md says of PML's wrappers around our losses, row by row."""

import pytest
import torch
from pytorch_metric_learning.losses import CrossBatchMemory, MultipleLosses, SelfSupervisedLoss
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

from pml_incremental.losses import (
    CorrelationDistillationLoss,
    EmbeddingDistillationLoss,
    MMDLoss,
    SimilarityPreservingLoss,
)

LOSSES = [
    CorrelationDistillationLoss,
    EmbeddingDistillationLoss,
    MMDLoss,
    SimilarityPreservingLoss,
]


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)


@pytest.mark.filterwarnings("ignore:DistributedLossWrapper is being used in a non-distributed")
@pytest.mark.parametrize("loss", LOSSES)
def test_distributed_loss_wrapper_gives_the_loss(loss, pair):
    student, teacher = pair
    wrapped = DistributedLossWrapper(loss())(student, ref_emb=teacher)
    torch.testing.assert_close(wrapped, loss()(student, ref_emb=teacher))


@pytest.mark.parametrize("loss", LOSSES)
def test_multiple_losses_takes_no_teacher_and_a_sum_does_the_same(loss, pair):
    student, teacher = pair
    with pytest.raises(TypeError, match="unexpected keyword argument 'ref_emb'"):
        MultipleLosses([loss()])(student, ref_emb=teacher)
    with pytest.raises(ValueError, match="needs the teacher's embeddings"):
        MultipleLosses([loss()])(student, torch.arange(8) // 2)
    first, second = loss(), CorrelationDistillationLoss()
    total = first(student, ref_emb=teacher) + 2 * second(student, ref_emb=teacher)
    total.backward()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_what_pml_allows_for_its_own_losses_alone(loss, pair):
    student, teacher = pair
    with pytest.raises(Exception, match=f"CrossBatchMemory not supported for {loss.__name__}"):
        CrossBatchMemory(loss(), embedding_size=16)
    with pytest.raises(Exception, match=f"SelfSupervisedLoss not supported for {loss.__name__}"):
        SelfSupervisedLoss(loss())
    assert loss()(student, ref_emb=teacher).ndim == 0  # which needs no labels
