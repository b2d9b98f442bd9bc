import math

import pytest
import torch

from pml_incremental.metrics import (
    correlation_divergence,
    off_diagonal_correlation,
    relative_drift,
)


def features(seed, rows=6, width=4):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def softmax(row):
    weights = [math.exp(x) for x in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_is_that_of_a_loop(temperature):
    estimated, real = features(0), features(1, width=3)
    found = correlation_divergence(estimated, real, temperature)
    for i in range(6):
        q, p = (
            softmax([cosine(side[i].tolist(), other.tolist()) / temperature for other in side])
            for side in (real, estimated)
        )
        expected = sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
        assert math.isclose(found[i].item(), temperature**2 * expected, rel_tol=1e-6)


def test_correlation_is_that_of_a_loop():
    estimated, real = features(0), features(1, width=3)
    places = [(i, j) for i in range(6) for j in range(6) if i != j]  # each twice changes nothing
    x, y = (
        [cosine(side[i].tolist(), side[j].tolist()) for i, j in places]
        for side in (estimated, real)
    )
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    scale = sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y)
    expected = covariance / math.sqrt(scale)
    assert math.isclose(off_diagonal_correlation(estimated, real).item(), expected, rel_tol=1e-6)


def test_drift_is_that_of_a_loop():
    prior, current = features(0), features(1)
    for found, old, new in zip(relative_drift(prior, current), prior, current, strict=True):
        rows = list(zip(old.tolist(), new.tolist(), strict=True))
        change = math.sqrt(sum((a - b) ** 2 for a, b in rows))
        length = math.sqrt(sum(b * b for _, b in rows))
        assert math.isclose(found.item(), change / length, rel_tol=1e-6)


def test_what_is_exact_has_no_error():
    z = features(0)
    assert correlation_divergence(z, z).tolist() == [0.0] * 6
    assert off_diagonal_correlation(z, z).item() == pytest.approx(1.0, abs=1e-12)
    assert relative_drift(z, z).tolist() == [0.0] * 6


def test_opposite_similarities_correlate_negatively_and_equal_ones_not_at_all():
    real = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    estimated = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    assert off_diagonal_correlation(estimated, real).item() < 0
    assert math.isnan(off_diagonal_correlation(torch.eye(4), features(0, rows=4)).item())


def test_half_precision_is_widened():
    half = features(0).half()
    expected = correlation_divergence(half.double(), features(1).double())
    torch.testing.assert_close(correlation_divergence(half, features(1)), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correlation_divergence(features(0), features(1, rows=5)), "estimated has 6 rows"),
        (lambda: correlation_divergence(features(0), features(1), 0.0), "temperature must be"),
        (lambda: off_diagonal_correlation(features(0), features(1, rows=5)), r"\(6, 4\) and \(5"),
        (lambda: off_diagonal_correlation(features(0, 2), features(1, 2)), "N at least 3"),
        (lambda: relative_drift(features(0), features(1, width=3)), "must both have shape"),
        (lambda: relative_drift(features(0), features(1) * 0), "current is zero in row 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
