import pytest
import torch

from pml_incremental.estimators import LinearEstimator, MLPEstimator


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bent(current):
    """A drift that no linear map can follow."""
    return current + current[:, [1, 0]].abs()


def fitted(estimator, drifts, batches=30, seed=0):
    for batch in range(batches):
        current = randn(80, 2, seed=seed + batch)
        estimator.observe(torch.stack([drift(current) for drift in drifts]), current)
    estimator.fit()
    return estimator


def error(estimate, expected):
    return (estimate - expected).square().mean().item()


def test_learns_a_drift_that_is_not_linear():
    unseen = randn(500, 2, seed=1000)
    estimates = [
        fitted(estimator, [bent]).estimate(unseen)[0]
        for estimator in (MLPEstimator(lr=1e-2), LinearEstimator())
    ]
    mlp, linear = (error(estimate, bent(unseen)) for estimate in estimates)
    assert mlp < 0.1 * error(unseen, bent(unseen))
    assert mlp < 0.2 * linear


def test_learns_each_model_as_if_it_were_alone_and_leaves_no_drift_alone():
    """Drifts differ in size by a factor of 1000; neither drowns the other."""
    drifts = [bent, lambda current: current + 1e-3 * current.abs(), lambda current: current]
    unseen = randn(500, 2, seed=1000)
    estimates = fitted(MLPEstimator(lr=1e-2), drifts).estimate(unseen)
    for estimate, drift in zip(estimates[:2], drifts[:2], strict=True):
        assert error(estimate, drift(unseen)) < 0.1 * error(unseen, drift(unseen))
    assert torch.equal(estimates[2], unseen)


def test_learns_from_its_own_estimates():
    first = fitted(MLPEstimator(lr=1e-2), [bent])
    newer = MLPEstimator(lr=1e-2)
    for batch in range(30):
        newest = randn(80, 2, seed=batch)
        newer.observe(first.estimate(bent(newest)), newest)
    newer.fit()
    unseen = randn(500, 2, seed=1000)
    target = bent(bent(unseen))
    assert error(newer.estimate(unseen)[0], target) < 0.25 * error(unseen, target)


def test_scale_of_the_features_does_not_matter():
    """Adam's steps are as long for large features as for small ones."""
    unseen = randn(500, 2, seed=1000)
    estimates = []
    for scale in (1e-2, 1.0, 1e2):
        estimator = MLPEstimator(hidden=32, steps=5)
        for batch in range(10):
            current = randn(80, 2, seed=batch)
            estimator.observe(scale * bent(current), scale * current)
        estimator.fit()
        estimates.append(estimator.estimate(scale * unseen)[0] / scale)
    for estimate in estimates:
        torch.testing.assert_close(estimate, estimates[1], rtol=0, atol=0.02)


def test_the_seed_decides():
    unseen = randn(20, 2, seed=1000)
    first, again, other = (
        fitted(MLPEstimator(hidden=8, steps=2, seed=seed), [bent], batches=3).estimate(unseen)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_estimate_is_the_residual_network():
    estimator = fitted(MLPEstimator(hidden=8, steps=2), [bent, bent], batches=3)
    state = estimator.state_dict()
    unseen = randn(10, 2, seed=1000)
    estimate = estimator.estimate(unseen)
    for k in range(2):
        for i in range(10):
            hidden = (state["weight_in"][k] @ unseen[i] + state["bias_in"][k]).clamp_min(0)
            expected = unseen[i] + state["weight_out"][k] @ hidden + state["bias_out"][k]
            torch.testing.assert_close(estimate[k, i], expected, rtol=1e-4, atol=1e-5)


def test_constant_features_and_single_images():
    estimator = MLPEstimator(hidden=4, steps=2)
    for _ in range(3):
        estimator.observe(torch.ones(1, 2), torch.zeros(1, 2))
    estimator.fit()
    torch.testing.assert_close(estimator.estimate(torch.zeros(1, 2))[0], torch.ones(1, 2))


def test_divergence_is_reported():
    estimator = MLPEstimator(lr=1e30)
    estimator.observe(bent(randn(80, 2)), randn(80, 2))
    with pytest.raises(ValueError, match=r"the networks have diverged: lower lr \(now 1e\+30\)"):
        estimator.fit()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hidden": 0}, "hidden must be an integer of at least 1"),
        ({"steps": 1.5}, "steps must be an integer of at least 1"),
        ({"lr": 0.0}, "lr must be positive and finite"),
        ({"averaging": 1.0}, "averaging must be at least 0 and below 1"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MLPEstimator(**kwargs)
