"""Each formula that compares student and teacher, against plain loops, and what all share."""

import math
from functools import partial
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from pml_incremental.functional import (
    angle_distillation,
    correlation_distillation,
    cosine_distillation,
    distance_distillation,
    l2_distillation,
    logit_distillation,
    maximum_mean_discrepancy,
    nearest_orthogonal,
    similarity_preserving,
)

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
RELATIONS = [distance_distillation, angle_distillation]
FORMULAS = [
    *RELATIONS,
    correlation_distillation,
    cosine_distillation,
    l2_distillation,
    logit_distillation,
    maximum_mean_discrepancy,
    similarity_preserving,
]


def embeddings(seed, n=6, d=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def rows(student, teacher):
    return list(zip(student, teacher, strict=True))


def divergence(scores, targets, temperature):
    """The Kullback-Leibler divergence of one anchor, times the squared temperature."""
    q, p = ([torch.exp(x / temperature) for x in row] for row in (targets, scores))
    q, p = ([x / sum(raw) for x in raw] for raw in (q, p))
    return temperature**2 * sum(b * (b.log() - a.log()) for a, b in rows(p, q))


def naive_correlation(student, teacher, temperature=4.0):
    pairs = [(student @ z, teacher @ t) for z, t in rows(student, teacher)]
    return torch.stack([divergence(scores, targets, temperature) for scores, targets in pairs])


def naive_logits(student, teacher, temperature=2.0):
    pairs = rows(3 * student, 3 * teacher)
    return torch.stack([divergence(z[: len(t)], t, temperature) for z, t in pairs])


def naive_l2(student, teacher):
    pairs = rows(student, teacher)
    return torch.stack([sum((a - b) ** 2 for a, b in rows(z, t)) ** 0.5 for z, t in pairs])


def naive_cosine(student, teacher):
    pairs = rows(student, teacher)
    cosines = [sum(a * b for a, b in rows(z, t)) / z.norm() / t.norm() for z, t in pairs]
    return 1 - torch.stack(cosines)


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


def naive_similarity(student, teacher):
    n = len(student)
    total = 0.0
    for i in range(n):
        normed = []
        for e in (student, teacher):
            row = [sum(a * b for a, b in rows(e[i], e[j])) for j in range(n)]
            norm = sum(g**2 for g in row) ** 0.5
            normed.append([g / norm for g in row])
        total += sum((z - t) ** 2 for z, t in rows(*normed))
    return total / n**2


def naive_mmd(student, teacher, bandwidths=BANDWIDTHS):
    pairs = list(permutations([*student, *teacher], 2))
    sigma2 = sum(float(((x - y) ** 2).sum()) for x, y in pairs) / len(pairs)

    def kernel(x, y):
        distance = float(((x - y) ** 2).sum())
        return sum(math.exp(-distance / (b * sigma2)) for b in bandwidths) / len(bandwidths)

    def mean(first, second):
        return sum(kernel(x, y) for x in first for y in second) / (len(first) * len(second))

    mmd = mean(student, student) + mean(teacher, teacher) - 2 * mean(student, teacher)
    return torch.tensor(mmd, dtype=torch.float64)


def scaled(student, teacher, *temperature):
    return logit_distillation(3 * student, 3 * teacher, *temperature)


@pytest.mark.parametrize(
    ("distil", "naive", "widths"),
    [
        (correlation_distillation, naive_correlation, (4, 2)),  # temperature 4 as in the paper
        (
            partial(correlation_distillation, temperature=0.7),
            partial(naive_correlation, temperature=0.7),
            (4, 2),
        ),
        (cosine_distillation, naive_cosine, (4,)),
        (l2_distillation, naive_l2, (4,)),
        (distance_distillation, naive_distance, (4, 2)),
        (angle_distillation, naive_angle, (4, 2)),
        (scaled, naive_logits, (4, 3)),  # temperature 2 as in the paper
        (lambda *e: scaled(*e, 0.5), lambda *e: naive_logits(*e, 0.5), (4, 3)),
    ],
)
def test_equals_the_formula_in_loops(distil, naive, widths):
    for width in widths:
        student, teacher = embeddings(0), embeddings(1, d=width)
        teacher[0] *= 4  # an outlier takes differences beyond the Huber threshold
        torch.testing.assert_close(
            distil(student, teacher), naive(student, teacher), rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize(
    ("distil", "naive", "widths"),
    [
        (similarity_preserving, naive_similarity, (4, 2)),
        (maximum_mean_discrepancy, naive_mmd, (4,)),
        (
            partial(maximum_mean_discrepancy, bandwidths=[0.3, 10]),
            partial(naive_mmd, bandwidths=[0.3, 10]),
            (4,),
        ),
    ],
)
def test_mean_is_the_formula_in_loops(distil, naive, widths):
    for width in widths:
        student, teacher = embeddings(0), embeddings(1, d=width) + 0.5
        losses = distil(student, teacher)
        assert losses.shape == (6,)
        torch.testing.assert_close(losses.mean(), naive(student, teacher))


@pytest.mark.parametrize("distil", [f for f in FORMULAS if f is not maximum_mean_discrepancy])
def test_gradients_of_both_arguments(distil):
    width = 4 if distil in (cosine_distillation, l2_distillation) else 3
    pair = embeddings(0, n=4).requires_grad_(), embeddings(1, n=4, d=width).requires_grad_()
    assert torch.autograd.gradcheck(distil, pair)


@pytest.mark.parametrize("distil", [f for f in FORMULAS if f is not maximum_mean_discrepancy])
def test_lengths_that_differ(distil):
    with pytest.raises(ValueError, match="student has 2 rows but teacher has 3"):
        distil(torch.zeros(2, 4), torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        (l2_distillation, r"width 4 but the teacher's have 5: give both"),
        (cosine_distillation, r"width 4 but the teacher's have 5: give both"),
        (maximum_mean_discrepancy, r"width 4 but the teacher's have 5"),
        (logit_distillation, "student has logits for 4 classes but the teacher for 5"),
        (partial(logit_distillation, temperature=0.0), "temperature must be positive"),
    ],
)
def test_widths_that_differ_and_bad_temperatures(distil, message):
    with pytest.raises(ValueError, match=message):
        distil(torch.zeros(2, 4), torch.zeros(2, 4 if "temperature" in message else 5))


@pytest.mark.parametrize("bandwidths", [(), (1.0, 0.0), (-1.0,), (float("nan"),)])
def test_bad_bandwidths(bandwidths):
    with pytest.raises(ValueError, match="bandwidths must be one or more positive numbers"):
        maximum_mean_discrepancy(torch.eye(2), torch.eye(2), bandwidths)


@pytest.mark.parametrize("distil", [l2_distillation, cosine_distillation])
def test_zero_vectors_have_finite_gradients(distil):
    student = torch.zeros(2, 3, requires_grad=True)
    distil(student, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() <= 1


def test_cosine_keeps_its_digits_near_equality():
    teacher = F.normalize(embeddings(0)).float()
    student = teacher + 1e-4 * embeddings(1).float()
    expected = cosine_distillation(student.double(), teacher.double())
    actual = cosine_distillation(student, teacher).double()
    assert ((actual - expected).abs() / expected).max() < 0.02


def test_gradient_of_logits_is_that_of_cross_entropy_times_the_squared_temperature():
    student, teacher = embeddings(0, d=6).requires_grad_(), embeddings(1)
    logit_distillation(student, teacher, 2.0).sum().backward()
    again = student.detach().clone().requires_grad_()
    targets = (teacher / 2).softmax(dim=1)
    F.cross_entropy(again[:, :4] / 2, targets, reduction="sum").backward()
    torch.testing.assert_close(student.grad, 4 * again.grad)
    assert student.grad[:, 4:].eq(0).all()  # new classes do not count


def test_gradient_leaves_the_bandwidth_alone():
    student, teacher = embeddings(0, n=3).requires_grad_(), embeddings(1, n=3)
    maximum_mean_discrepancy(student, teacher).sum().backward()
    pooled = torch.cat([student.detach(), teacher])
    sigma2 = torch.cdist(pooled, pooled).square().sum() / 30

    def with_fixed_bandwidth(z):
        points = torch.cat([z, teacher])
        squares = (points.unsqueeze(0) - points.unsqueeze(1)).square().sum(dim=2)
        kernel = sum((-squares / (b * sigma2)).exp() for b in BANDWIDTHS) / 5
        sign = torch.tensor([1.0, 1, 1, -1, -1, -1]).double()
        return sign @ kernel @ sign / 3

    again = student.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(with_fixed_bandwidth, (again,))
    with_fixed_bandwidth(again).backward()
    torch.testing.assert_close(student.grad, again.grad)


@pytest.mark.parametrize("count", [1, 4])
def test_all_embeddings_equal(count):
    student = torch.ones(count, 3, requires_grad=True)
    losses = maximum_mean_discrepancy(student, torch.ones(count, 3))
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("distil", [*RELATIONS, similarity_preserving])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("row", ["zero", "doubled"])
def test_degenerate_embeddings_have_moderate_gradients(distil, dtype, row):
    student = embeddings(0).to(dtype)
    student[1] = student[0] if row == "doubled" else 0
    student.requires_grad_()
    distil(student, embeddings(1).to(dtype)).sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("distil", RELATIONS)
def test_collapsed_students_and_batches_too_small_for_a_relation(distil):
    student = torch.ones(5, 3, requires_grad=True)
    losses = distil(student, embeddings(1, n=5).float())
    losses.sum().backward()
    assert losses.isfinite().all()
    assert student.grad.isfinite().all()
    for count in (1, 2):
        student = embeddings(0, n=count).requires_grad_()
        losses = distil(student, embeddings(1, n=count))
        losses.sum().backward()
        # One pair always has the mean distance.
        assert losses.tolist() == [0.0] * count
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nearest_orthogonal_matrix_solves_procrustes_problem(dtype):
    turn = torch.linalg.qr(embeddings(3, 5, 5)).Q.to(dtype)
    z = embeddings(4, 30, 5).to(dtype)
    torch.testing.assert_close(nearest_orthogonal((z @ turn.T).T @ z), turn)
    matrix = embeddings(5, 5, 5).to(dtype)
    nearest = nearest_orthogonal(matrix)
    torch.testing.assert_close(nearest @ nearest.T, torch.eye(5, dtype=dtype))
    assert nearest.dtype == dtype
    for seed in range(20):
        other = torch.linalg.qr(embeddings(seed, 5, 5)).Q.to(dtype)
        assert (nearest - matrix).norm() <= (other - matrix).norm()


def test_directions_that_say_nothing_stay():
    plane = torch.zeros(5, 5, dtype=torch.float64)
    plane[0, 1], plane[1, 0] = -1.0, 1.0
    expected = plane + torch.diag(torch.tensor([0.0, 0, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(nearest_orthogonal(plane), expected)
    torch.testing.assert_close(nearest_orthogonal(torch.zeros(3, 3)), torch.eye(3))


@pytest.mark.parametrize("bad", [torch.ones(2, 3), torch.ones(2), torch.full((2, 2), torch.nan)])
def test_nearest_orthogonal_matrix_is_of_a_square_and_finite_one(bad):
    with pytest.raises(ValueError, match="that of a square, finite matrix, got shape"):
        nearest_orthogonal(bad)
