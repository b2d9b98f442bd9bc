import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from torch.nn import functional as F

from pml_incremental.functional import rectify_similarities, similarity_divergence
from pml_incremental.losses import CorrelationDistillationLoss, RectifiedCorrelationLoss

LABELS = torch.arange(12) % 3


def pair():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher


def cosines(embeddings):
    unit = F.normalize(embeddings)
    return unit @ unit.T


def test_is_the_divergence_from_the_corrected_similarities():
    student, teacher = pair()
    value = RectifiedCorrelationLoss(0.5)(student, LABELS, ref_emb=teacher)
    target = rectify_similarities(cosines(student), cosines(teacher), LABELS)
    expected = similarity_divergence(cosines(student), target, 0.5).mean()
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(v, student)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients)


def test_is_correlation_distillation_where_the_teacher_agrees_with_the_labels():
    student, _ = pair()
    teacher = F.one_hot(LABELS).double() + 0.01 * torch.rand(12, 3).double()
    plain = CorrelationDistillationLoss()(student, LABELS, ref_emb=teacher)
    assert RectifiedCorrelationLoss()(student, LABELS, ref_emb=teacher) == plain


def test_pulls_together_what_the_teacher_wrongly_separates():
    def cosine_after_learning(loss):
        # Images 0 and 1 are of one class; the teacher has 0 nearer to 2.
        teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
        student = torch.tensor([[1.0, 0.2], [0.2, 1.0], [0.8, 0.6]], requires_grad=True)
        optimizer = torch.optim.SGD([student], lr=1.0)
        for _ in range(200):
            optimizer.zero_grad()
            loss(student, torch.tensor([0, 0, 1]), ref_emb=teacher).backward()
            optimizer.step()
        return cosines(student.detach())

    rectified = cosine_after_learning(RectifiedCorrelationLoss(0.5))
    plain = cosine_after_learning(CorrelationDistillationLoss(0.5))
    assert plain[0, 1] < plain[0, 2]
    assert rectified[0, 1] > rectified[0, 2]


def test_distance_that_is_no_similarity():
    student, teacher = pair()
    loss = RectifiedCorrelationLoss(distance=LpDistance(normalize_embeddings=False))
    s, t = -torch.cdist(student, student), -torch.cdist(teacher, teacher)
    expected = similarity_divergence(s, rectify_similarities(s, t, LABELS)).mean()
    torch.testing.assert_close(loss(student, LABELS, ref_emb=teacher), expected)


def test_records_the_share_of_corrected_pairs():
    student, teacher = pair()
    loss = RectifiedCorrelationLoss(collect_stats=True)
    loss(student, LABELS, ref_emb=teacher)
    target = rectify_similarities(cosines(student), cosines(teacher), LABELS)
    share = (target != cosines(teacher)).double().mean().item()
    assert 0 < share < 1
    assert loss.corrected_share == pytest.approx(share)
    assert "corrected_share" in loss._record_these_stats
