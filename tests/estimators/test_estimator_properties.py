"""What holds for every estimator whatever the features are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from pml_incremental.estimators import EstimatorBank

SPECS = {
    "accuracy change": {"AccuracyChangeEstimator": {"low": -0.1, "high": 0.1}},
    "drift": {"DriftEstimator": {}},
    "linear": {"LinearEstimator": {}},
    "linear of low rank": {"LinearEstimator": {"rank": 1}},
    "mlp": {"MLPEstimator": {"hidden": 4, "steps": 2}},
}


@st.composite
def streams(draw):
    """Features by the models M_1 .. M_t on the images of each task from the second on."""
    width, tasks = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 12), min_size=tasks, max_size=tasks))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    return [scale * torch.randn(2, size, width, generator=generator) for size in sizes]


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=15, deadline=None)
@given(stream=streams())
def test_a_bank_comes_back_and_estimates_are_finite(name, stream):
    bank = EstimatorBank(SPECS[name], seed=1)
    for number, (leaving, coming) in enumerate(stream, 1):
        bank.update([(leaving, coming)])
        assert len(bank) == number
    features = stream[-1][1]
    again = EstimatorBank(SPECS[name], seed=1)
    again.load_state_dict(bank.state_dict())
    first, second = bank.estimate(features), again.estimate(features)
    assert first.shape == (len(stream), *features.shape)
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert torch.equal(bank.estimate(features), again.estimate(features))  # draws go on alike


@pytest.mark.parametrize("name", ["drift", "linear"])
@settings(max_examples=15, deadline=None)
@given(stream=streams())
def test_a_model_that_did_not_change_is_estimated_as_it_is(name, stream):
    bank = EstimatorBank({"drift": {"DriftEstimator": {"scale": 0.0}}}.get(name, SPECS[name]))
    features = torch.cat([coming for _, coming in stream])
    rows = torch.cat([features, torch.eye(features.shape[1]) * features.abs().max()])
    bank.update([(rows, rows)])
    assert cosine_similarity(bank.estimate(rows)[0], rows).min() > 0.99
