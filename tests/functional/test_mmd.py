import math
from itertools import permutations

import pytest
import torch

from pml_incremental.functional import maximum_mean_discrepancy

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def embeddings(seed, n=6, d=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def naive(student, teacher, bandwidths=BANDWIDTHS):
    pooled = [*student, *teacher]
    pairs = list(permutations(pooled, 2))
    sigma2 = sum(float(((x - y) ** 2).sum()) for x, y in pairs) / len(pairs)

    def kernel(x, y):
        distance = float(((x - y) ** 2).sum())
        return sum(math.exp(-distance / (b * sigma2)) for b in bandwidths) / len(bandwidths)

    def mean(first, second):
        return sum(kernel(x, y) for x in first for y in second) / (len(first) * len(second))

    return mean(student, student) + mean(teacher, teacher) - 2 * mean(student, teacher)


@pytest.mark.parametrize("bandwidths", [BANDWIDTHS, (0.3,), [1, 10]])
def test_mean_is_the_formula_in_loops(bandwidths):
    student, teacher = embeddings(0), embeddings(1) + 0.5
    losses = maximum_mean_discrepancy(student, teacher, bandwidths)
    assert losses.shape == (6,)
    assert losses.mean().item() == pytest.approx(naive(student, teacher, bandwidths), rel=1e-9)


def test_default_bandwidths():
    student, teacher = embeddings(0), embeddings(1)
    mean = maximum_mean_discrepancy(student, teacher).mean().item()
    assert mean == pytest.approx(naive(student, teacher), rel=1e-9)


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


def test_zero_with_zero_gradient_at_equality():
    student = embeddings(0).requires_grad_()
    losses = maximum_mean_discrepancy(student, student.detach().clone())
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.abs().max() < 1e-15


def test_mean_does_not_see_which_embedding_belongs_to_which_image():
    student, teacher = embeddings(0), embeddings(1)
    torch.testing.assert_close(
        maximum_mean_discrepancy(student, teacher.flip(0)).mean(),
        maximum_mean_discrepancy(student, teacher).mean(),
    )


def test_scaling_both_spaces_changes_nothing():
    student, teacher = embeddings(0), embeddings(1)
    torch.testing.assert_close(
        maximum_mean_discrepancy(100 * student, 100 * teacher),
        maximum_mean_discrepancy(student, teacher),
    )


@pytest.mark.parametrize("count", [1, 4])
def test_all_embeddings_equal(count):
    student = torch.ones(count, 3, requires_grad=True)
    losses = maximum_mean_discrepancy(student, torch.ones(count, 3))
    losses.sum().backward()
    assert losses.eq(0).all()
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("bandwidths", [(), (1.0, 0.0), (-1.0,), (float("nan"),)])
def test_bad_bandwidths(bandwidths):
    with pytest.raises(ValueError, match="bandwidths must be one or more positive numbers"):
        maximum_mean_discrepancy(torch.eye(2), torch.eye(2), bandwidths)


def test_widths_that_differ():
    with pytest.raises(ValueError, match=r"width 4 but the teacher's have 5"):
        maximum_mean_discrepancy(torch.zeros(2, 4), torch.zeros(2, 5))
