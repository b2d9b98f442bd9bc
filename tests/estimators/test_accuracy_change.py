import pytest
import torch

from pml_incremental.estimators import AccuracyChangeEstimator
from pml_incremental.functional import estimate_features


def features(n=20, width=6):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0))


def fitted(models=2, **kwargs):
    estimator = AccuracyChangeEstimator(**kwargs)
    estimator.observe(features().repeat(models, 1, 1), features())
    estimator.fit()
    return estimator


def seeded():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize(
    ("kwargs", "ranges", "low", "high"),
    [
        ({"scale": 0.5}, {2: (0.1, 0.4), 1: (-0.3, -0.2)}, [-0.3, 0.1], [-0.2, 0.4]),
        ({"low": -0.0442811, "high": 0.2230079}, {}, [-0.0442811] * 2, [0.2230079] * 2),
    ],
)
def test_is_estimate_features_with_the_ranges_that_were_set(kwargs, ranges, low, high):
    estimator = fitted(**kwargs)
    if ranges:
        estimator.set_ranges(ranges)
    low, high, scale = torch.tensor(low), torch.tensor(high), kwargs.get("scale", 1.0)
    expected = estimate_features(features(), low, high, scale, seeded())
    torch.testing.assert_close(estimator.estimate(features(), seeded()), expected)


def test_only_the_embedding_is_changed():
    estimator = AccuracyChangeEstimator(low=0.5, high=0.5)
    more = torch.cat([features(), torch.ones(20, 3)], dim=1)
    estimator.observe(features(), more)
    estimator.fit()
    torch.testing.assert_close(estimator.estimate(more)[0], 1.5 * features())


def test_ranges_can_be_set_again_and_one_by_one_and_keep_their_digits():
    estimator = fitted()
    estimator.set_ranges({1: (0.0, 0.0)})
    estimator.set_ranges({2: (1.0, 1.0)})
    estimator.set_ranges({1: (-1.0, -1.0)})
    estimate = estimator.estimate(features())
    assert estimate[0].abs().max() == 0
    torch.testing.assert_close(estimate[1], 2 * features())
    estimator.set_ranges({1: (-0.0442811, 0.2230079), 2: (0.0, 1e-12)})
    assert estimator.state_dict()["ranges"].tolist() == [[-0.0442811, 0.2230079], [0.0, 1e-12]]


def test_unset_ranges_are_an_error_that_names_the_models():
    estimator = fitted(models=4)
    estimator.set_ranges({2: (0.0, 0.1)})
    message = "no accuracy range is set for prior model M_1, M_3, M_4"
    with pytest.raises(RuntimeError, match=message):
        estimator.estimate(features())


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({2: (0.2, 0.1)}, "low is above high in the range of prior model M_2: 0.2 > 0.1"),
        ({1: (float("nan"), 0.1)}, "range of prior model M_1 must be finite"),
        ({3: (0.0, 0.1)}, "no prior model M_3: .* stands for 2, numbered from 1"),
        ({0: (0.0, 0.1)}, "no prior model M_0"),
    ],
)
def test_bad_ranges_change_nothing(ranges, message):
    estimator = fitted()
    estimator.set_ranges({1: (0.0, 0.0), 2: (0.0, 0.0)})
    with pytest.raises(ValueError, match=message):
        estimator.set_ranges({1: (0.5, 0.5), **ranges})
    assert estimator.state_dict()["ranges"].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"low": 0.1}, "both low and high or neither"),
        ({"low": 0.2, "high": 0.1}, "low is above high in the range: 0.2 > 0.1"),
        ({"low": 0.0, "high": float("inf")}, "must be finite"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AccuracyChangeEstimator(**kwargs)
