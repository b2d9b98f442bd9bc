from pathlib import Path

import numpy as np
import pytest
import torch

from pml_incremental.functional import cosine_distillation, l2_distillation

GOLDEN = Path(__file__).parents[1] / "data" / "official_losses.npz"
BOTH = pytest.mark.parametrize("distil", [l2_distillation, cosine_distillation])


def embeddings(seed, n=7, d=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def naive_l2(z, t):
    return sum((a - b) ** 2 for a, b in zip(z, t, strict=True)) ** 0.5


def naive_cosine(z, t):
    return 1 - sum(a * b for a, b in zip(z, t, strict=True)) / (z.norm() * t.norm())


@pytest.mark.parametrize(
    ("distil", "naive"), [(l2_distillation, naive_l2), (cosine_distillation, naive_cosine)]
)
def test_equals_the_formula_in_loops(distil, naive):
    student, teacher = embeddings(0), embeddings(1)
    expected = [naive(z, t) for z, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(distil(student, teacher), torch.stack(expected))


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_l2_equals_the_published_code(case, dtype, tolerance):
    with np.load(GOLDEN) as golden:
        student, teacher = (
            torch.tensor(golden[f"{case}/{name}"], dtype=dtype) for name in ("student", "teacher")
        )
        expected = float(golden[f"{case}/l2_norm"])
    assert l2_distillation(student, teacher).mean().item() == pytest.approx(expected, rel=tolerance)


@BOTH
def test_gradients_of_both_arguments(distil):
    pair = (embeddings(0, n=3).requires_grad_(), embeddings(1, n=3).requires_grad_())
    assert torch.autograd.gradcheck(distil, pair)


@BOTH
def test_zero_with_zero_gradient_at_equality(distil):
    student = embeddings(0).requires_grad_()
    losses = distil(student, student.detach().clone())
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.eq(0).all()


@BOTH
def test_zero_vectors_have_finite_gradients(distil):
    student = torch.zeros(2, 3, requires_grad=True)
    distil(student, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() <= 1


def test_cosine_ignores_length():
    student, teacher = embeddings(0), embeddings(1)
    torch.testing.assert_close(
        cosine_distillation(3 * student, 0.1 * teacher), cosine_distillation(student, teacher)
    )


def test_cosine_keeps_its_digits_near_equality():
    teacher = torch.nn.functional.normalize(embeddings(0)).float()
    student = teacher + 1e-4 * embeddings(1).float()
    expected = cosine_distillation(student.double(), teacher.double())
    actual = cosine_distillation(student, teacher).double()
    assert ((actual - expected).abs() / expected).max() < 0.02


@BOTH
def test_widths_that_differ(distil):
    with pytest.raises(ValueError, match=r"width 4 but the teacher's have 5: give both"):
        distil(torch.zeros(2, 4), torch.zeros(2, 5))


@BOTH
def test_lengths_that_differ(distil):
    with pytest.raises(ValueError, match="student has 2 rows but teacher has 3"):
        distil(torch.zeros(2, 4), torch.zeros(3, 4))
