import pytest
import torch
from torch.nn import functional as F

from pml_incremental.estimators import DriftEstimator


def seeded():
    return torch.Generator().manual_seed(0)


def embeddings(n, width=6):
    return F.normalize(torch.randn(n, width, generator=seeded(), dtype=torch.float64), dim=1)


def fitted(prior, current, **kwargs):
    estimator = DriftEstimator(**kwargs)
    estimator.observe(prior, current)
    estimator.fit()
    return estimator


def test_equals_a_loop_over_models_and_dimensions():
    current = 3 * torch.randn(30, 7, generator=seeded(), dtype=torch.float64)
    prior = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(1)).double()
    estimator = fitted(prior, current)
    state = estimator.state_dict()
    estimate = estimator.estimate(current, seeded())
    noise = torch.randn(2, 30, 5, generator=seeded(), dtype=torch.float64)
    unit = [row[:5] / row[:5].norm() for row in current]
    for k in range(2):
        for j in range(5):
            drift = [prior[k, i, j] / prior[k, i].norm() - unit[i][j] for i in range(30)]
            mean = sum(drift) / 30
            deviation = (sum((one - mean) ** 2 for one in drift) / 30) ** 0.5
            assert state["mean"][k, j].item() == pytest.approx(mean.item(), rel=1e-5)
            assert state["deviation"][k, j].item() == pytest.approx(deviation.item(), rel=1e-5)
            for i in range(30):
                expected = unit[i][j] + mean + deviation * noise[k, i, j]
                assert estimate[k, i, j].item() == pytest.approx(expected.item(), abs=1e-6)


def test_no_drift_is_the_direction_of_the_current_embedding_and_scale_multiplies_the_spread():
    current = embeddings(50)
    estimate = fitted(7 * current, 3 * current).estimate(2 * current)
    torch.testing.assert_close(estimate[0], current, rtol=0, atol=1e-7)
    prior = embeddings(51)[1:]
    mean, once, twice = (
        fitted(prior, current, scale=scale).estimate(current, seeded()) for scale in (0, 1, 2)
    )
    torch.testing.assert_close(twice - mean, 2 * (once - mean))


def test_drift_and_spread_combine_over_tasks():
    """The estimator of M_1 learns from its own estimates when M_3 follows M_2."""
    generator = torch.Generator().manual_seed(5)
    current = embeddings(20000, width=40)
    shift = 0.03 * torch.randn(2, 40, generator=generator)
    noise = torch.randn(2, 20000, 40, generator=generator)
    older = current + shift[1] + 0.04 * noise[1]
    oldest = older + shift[0] + 0.03 * noise[0]
    first = fitted(oldest, older)
    state = fitted(first.estimate(older, generator), current).state_dict()
    direct = fitted(oldest, current).state_dict()
    torch.testing.assert_close(state["mean"], direct["mean"], rtol=0, atol=5e-3)
    torch.testing.assert_close(state["deviation"], direct["deviation"], rtol=0.05, atol=0)
    assert (state["deviation"] > first.state_dict()["deviation"]).all()


def test_large_means_cancel_nothing():
    current = torch.full((1000, 3), 1e4, dtype=torch.float64)
    prior = current + 1e-2 * torch.randn(1000, 3, generator=seeded(), dtype=torch.float64)
    at_once = fitted(prior, current).state_dict()
    streamed = DriftEstimator()
    for one, other in zip(prior.split(7), current.split(7), strict=True):
        streamed.observe(one, other)
    streamed.fit()
    for name, tensor in at_once.items():
        torch.testing.assert_close(streamed.state_dict()[name], tensor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="scale must be a finite number, at least 0"):
        DriftEstimator(scale)
