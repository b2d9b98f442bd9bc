import pytest
import torch

from pml_incremental.functional import similarity_preserving


def embeddings(seed, n=6, d=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def naive(student, teacher):
    n = len(student)
    total = 0.0
    for i in range(n):
        rows = []
        for e in (student, teacher):
            row = [sum(a * b for a, b in zip(e[i], e[j], strict=True)) for j in range(n)]
            norm = sum(g**2 for g in row) ** 0.5
            rows.append([g / norm for g in row])
        total += sum((z - t) ** 2 for z, t in zip(*rows, strict=True))
    return total / n**2


@pytest.mark.parametrize("teacher_width", [4, 2])
def test_mean_is_the_formula_in_loops(teacher_width):
    student, teacher = embeddings(0), embeddings(1, d=teacher_width)
    losses = similarity_preserving(student, teacher)
    assert losses.shape == (6,)
    torch.testing.assert_close(losses.mean(), naive(student, teacher))


def test_gradients_of_both_arguments():
    pair = (embeddings(0, n=4).requires_grad_(), embeddings(1, n=4, d=3).requires_grad_())
    assert torch.autograd.gradcheck(similarity_preserving, pair)


def test_zero_with_zero_gradient_at_equality_up_to_scale():
    student = embeddings(0).requires_grad_()
    losses = similarity_preserving(student, 2 * student.detach())
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.eq(0).all()


def test_zero_vector_has_a_moderate_gradient():
    student = embeddings(0).float()
    student[2] = 0
    student.requires_grad_()
    similarity_preserving(student, embeddings(1).float()).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="student has 2 rows but teacher has 3"):
        similarity_preserving(torch.zeros(2, 4), torch.zeros(3, 4))
