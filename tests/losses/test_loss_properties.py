"""What holds for every teacher loss whatever the embeddings are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from pml_incremental import losses

LOSSES = {
    "correlation": losses.CorrelationDistillationLoss,
    "l2": losses.EmbeddingDistillationLoss,
    "cosine": lambda: losses.EmbeddingDistillationLoss("cosine"),
    "relational": losses.RelationalDistillationLoss,
    "similarity-preserving": losses.SimilarityPreservingLoss,
    "rectified": losses.RectifiedCorrelationLoss,
}


@st.composite
def batches(draw):
    """Embeddings of student and teacher, labels, and a permutation of the rows."""
    n, width = draw(st.integers(3, 9)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([1e-3, 1.0, 30.0]))
    student, teacher = (
        scale * torch.randn(n, width, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    labels = torch.randint(0, 3, (n,), generator=generator)
    return student, teacher, labels, torch.randperm(n, generator=generator)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_finite_not_negative_and_free_of_the_order_of_images(name, batch):
    student, teacher, labels, order = batch
    loss = LOSSES[name]()
    student = student.requires_grad_()
    value = loss(student, labels, ref_emb=teacher)
    value.backward()
    assert value.item() >= -1e-9
    assert student.grad.isfinite().all()
    again = loss(student[order], labels[order], ref_emb=teacher[order])
    torch.testing.assert_close(again, value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "rectified"])
@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_zero_where_the_student_is_its_teacher(name, batch):
    student, _, labels, _ = batch
    student = student.requires_grad_()
    value = LOSSES[name]()(student, labels, ref_emb=student.detach().clone())
    value.backward()
    assert abs(value.item()) < 1e-9
    assert student.grad.abs().max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_correlations_do_not_see_a_rotation(batch):
    student, teacher, labels, _ = batch
    rotation = torch.linalg.qr(teacher.T @ teacher + torch.eye(teacher.shape[1]).double())[0]
    loss = losses.CorrelationDistillationLoss()
    values = [
        loss(normalize(student @ turn), labels, ref_emb=teacher)
        for turn in (torch.eye(len(rotation)).double(), rotation)
    ]
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-9)
