import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_incremental.estimators import LinearEstimator


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fitted(prior, current, **kwargs):
    estimator = LinearEstimator(**kwargs)
    estimator.observe(prior, current)
    estimator.fit()
    return estimator


def test_minimises_the_penalised_error():
    """Gradient of the objective, written out image by image, vanishes at the solution."""
    n, d, more, ridge = 25, 3, 2, 0.2
    current, prior = randn(n, d + more) * torch.tensor([1, 2, 3, 4, 5]), randn(2, n, d, seed=1)
    state = fitted(prior, current, ridge=ridge).state_dict()
    for k in range(2):
        weight = state["weight"][k].double().requires_grad_()
        bias = state["bias"][k].double().requires_grad_()
        error = sum(
            (prior[k, i] - current[i, :d] - weight @ current[i] - bias).square().sum()
            for i in range(n)
        )
        penalty = sum(
            current[:, j].var(correction=0) * weight[:, j].square().sum() for j in range(d + more)
        )
        gradients = torch.autograd.grad(error + ridge * n * penalty, (weight, bias))
        for gradient in gradients:
            assert gradient.abs().max() < 1e-3 * n


def test_estimate_applies_the_map():
    current, prior = randn(30, 6), randn(2, 30, 4, seed=1)
    estimator = fitted(prior, current)
    state = estimator.state_dict()
    estimate = estimator.estimate(current)
    for k in range(2):
        for i in range(30):
            change = state["weight"][k].double() @ current[i] + state["bias"][k].double()
            torch.testing.assert_close(estimate[k, i], current[i, :4] + change)


def test_recovers_an_affine_map():
    current = randn(200, 8)
    prior = current @ randn(3, 8, 5, seed=1) + randn(3, 1, 5, seed=2)
    estimator = fitted(prior, current, ridge=1e-9)
    unseen = randn(50, 8, seed=3)
    expected = unseen @ randn(3, 8, 5, seed=1) + randn(3, 1, 5, seed=2)
    torch.testing.assert_close(estimator.estimate(unseen), expected, rtol=0, atol=1e-5)


def test_learning_from_estimates_is_composing_regressions():
    """Without the ridge, also where the true maps are not linear."""
    newest, older, oldest = randn(80, 4), randn(80, 4, seed=1), randn(80, 4, seed=2)
    first = fitted(oldest, older, ridge=1e-9)
    second = fitted(older, newest, ridge=1e-9)
    chained = fitted(first.estimate(older), newest, ridge=1e-9)
    unseen = randn(20, 4, seed=3)
    composed = first.estimate(second.estimate(unseen)[0])
    torch.testing.assert_close(chained.estimate(unseen), composed, rtol=1e-4, atol=1e-4)


def test_the_ridge_draws_towards_the_current_embedding():
    current, prior = randn(40, 5), randn(40, 5, seed=1)
    centred = current - current.mean(dim=0) + prior.mean(dim=0)
    estimate = fitted(prior, current, ridge=1e9).estimate(current)[0]
    torch.testing.assert_close(estimate, centred, rtol=0, atol=1e-6)
    distances = [
        (fitted(prior, current, ridge=ridge).estimate(current)[0] - centred).norm().item()
        for ridge in (1e-3, 1e-1, 1e1)
    ]
    assert distances == sorted(distances, reverse=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4), st.integers(0, 100))
def test_scaling_further_features_changes_nothing(scales, seed):
    embeddings, more, prior = randn(30, 3), randn(30, 4, seed=1), randn(30, 3, seed=2 + seed)
    several = (more, more * torch.tensor(scales))
    plain, scaled = (torch.cat([embeddings, columns], dim=1) for columns in several)
    found = fitted(prior, scaled).estimate(scaled)
    expected = fitted(prior, plain).estimate(plain)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rank_is_cut_to_the_best_predictions(rank):
    """No map of the rank, found by gradient descent from the cut one, predicts more nearly."""
    current = randn(60, 7) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5, 0.2, 0.1]).double())
    prior = randn(60, 4, seed=1) + current @ randn(7, 4, seed=2)
    full = fitted(prior, current)
    cut = fitted(prior, current, rank=rank)
    state = cut.state_dict()
    assert state["left"].shape == (1, 4, rank)
    assert state["right"].shape == (1, rank, 7)
    target = full.estimate(current)[0]
    error = (cut.estimate(current)[0] - target).square().sum()
    change = (target - current[:, :4]) - (target - current[:, :4]).mean(dim=0)
    discarded = torch.linalg.svdvals(change)[rank:]
    assert error.item() == pytest.approx(discarded.square().sum().item(), rel=1e-4)


def test_rank_beyond_the_width_is_no_limit():
    current, prior = randn(60, 7), randn(60, 4, seed=1)
    full = fitted(prior, current).estimate(current)
    for rank in (4, 100):
        assert torch.equal(fitted(prior, current, rank=rank).estimate(current), full)


def test_an_exact_low_rank_drift_survives_the_cut():
    current = randn(100, 8)
    prior = current + current @ randn(8, 2, seed=1) @ randn(2, 8, seed=2) + 1
    estimate = fitted(prior, current, ridge=1e-9, rank=2).estimate(current)[0]
    torch.testing.assert_close(estimate, prior, rtol=1e-4, atol=1e-4)


def test_dead_and_doubled_features():
    current = torch.cat([randn(50, 3), torch.full((50, 2), 7.0)], dim=1)
    current = torch.cat([current, current[:, :1]], dim=1)
    prior = randn(50, 3, seed=1)
    estimator = fitted(prior, current)
    assert estimator.state_dict()["weight"][..., 3:5].abs().max() == 0
    assert estimator.estimate(current).isfinite().all()


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_images_than_dimensions(n):
    current, prior = randn(n, 6), randn(n, 6, seed=1)
    estimate = fitted(prior, current, ridge=1e-6).estimate(current)[0]
    torch.testing.assert_close(estimate, prior, rtol=0, atol=1e-4)


def test_large_means_cancel_nothing():
    current = randn(100, 4) + 1e5
    prior = (current - 1e5) @ randn(4, 4, seed=1) + 1e5
    streamed = LinearEstimator(ridge=1e-9)
    for one, other in zip(prior.split(9), current.split(9), strict=True):
        streamed.observe(one, other)
    streamed.fit()
    expected = randn(4, 4, seed=1).T - torch.eye(4)
    weight = streamed.state_dict()["weight"][0].double()
    torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-5)


def test_bad_ridge_and_rank():
    for ridge in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="ridge must be positive and finite"):
            LinearEstimator(ridge=ridge)
    for rank in (0, -1, 2.5):
        with pytest.raises(ValueError, match="rank must be None or an integer of at least 1"):
            LinearEstimator(rank=rank)
