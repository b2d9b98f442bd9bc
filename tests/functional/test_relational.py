from itertools import permutations

import pytest
import torch

from pml_incremental.functional import angle_distillation, distance_distillation

BOTH = pytest.mark.parametrize("distil", [distance_distillation, angle_distillation])


def embeddings(seed, n=6, d=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def huber(x):
    return x**2 / 2 if abs(x) <= 1 else abs(x) - 0.5


def naive_distance(student, teacher):
    n = len(student)
    pairs = list(permutations(range(n), 2))
    scale = [sum((e[i] - e[j]).norm() for i, j in pairs) / len(pairs) for e in (student, teacher)]
    losses = torch.zeros(n, dtype=torch.float64)
    for i, j in pairs:
        z, t = ((e[i] - e[j]).norm() / mu for e, mu in zip((student, teacher), scale, strict=True))
        losses[i] += huber(z - t) / (n - 1)
    return losses


def cosine_at(e, i, j, k):
    first, second = e[i] - e[j], e[k] - e[j]
    return first.dot(second) / (first.norm() * second.norm())


def naive_angle(student, teacher):
    n = len(student)
    losses = torch.zeros(n, dtype=torch.float64)
    for i, j, k in permutations(range(n), 3):
        difference = cosine_at(student, i, j, k) - cosine_at(teacher, i, j, k)
        losses[j] += huber(difference) / ((n - 1) * (n - 2))
    return losses


@pytest.mark.parametrize(
    ("distil", "naive"),
    [(distance_distillation, naive_distance), (angle_distillation, naive_angle)],
)
@pytest.mark.parametrize("teacher_width", [4, 2])
def test_equals_the_formula_in_loops(distil, naive, teacher_width):
    # An outlier takes differences beyond the Huber threshold.
    student, teacher = embeddings(0), embeddings(1, d=teacher_width)
    teacher[0] *= 20
    torch.testing.assert_close(distil(student, teacher), naive(student, teacher))


@BOTH
def test_gradients_of_both_arguments(distil):
    pair = (embeddings(0, n=4).requires_grad_(), embeddings(1, n=4, d=3).requires_grad_())
    assert torch.autograd.gradcheck(distil, pair)


@BOTH
def test_scaling_and_moving_either_space_changes_nothing(distil):
    student, teacher = embeddings(0), embeddings(1)
    torch.testing.assert_close(distil(3 * student + 1, teacher), distil(student, teacher))


@BOTH
def test_zero_with_zero_gradient_at_equality(distil):
    student = embeddings(0).requires_grad_()
    losses = distil(student, student.detach().clone())
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.eq(0).all()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coinciding_embeddings_have_moderate_gradients(distil, dtype):
    student = embeddings(0).to(dtype)
    student[1] = student[0]
    student.requires_grad_()
    distil(student, embeddings(1).to(dtype)).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@BOTH
def test_collapsed_student_has_finite_gradients(distil):
    student = torch.ones(5, 3, requires_grad=True)
    losses = distil(student, embeddings(1, n=5).float())
    losses.sum().backward()
    assert losses.isfinite().all()
    assert student.grad.isfinite().all()


@BOTH
@pytest.mark.parametrize("count", [1, 2])
def test_batches_too_small_for_a_relation(distil, count):
    student = embeddings(0, n=count).requires_grad_()
    losses = distil(student, embeddings(1, n=count))
    losses.sum().backward()
    # One pair always has the mean distance.
    assert losses.tolist() == [0.0] * count
    assert student.grad.isfinite().all()


@BOTH
def test_lengths_that_differ(distil):
    with pytest.raises(ValueError, match="student has 2 rows but teacher has 3"):
        distil(torch.zeros(2, 4), torch.zeros(3, 4))
