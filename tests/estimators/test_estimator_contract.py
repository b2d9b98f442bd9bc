"""What every estimator must do."""

import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from pml_incremental.estimators import (
    AccuracyChangeEstimator,
    DriftEstimator,
    FeatureEstimator,
    LinearEstimator,
    MLPEstimator,
)

MODELS, WIDTH, MORE = 3, 5, 4


@dataclass(frozen=True)
class Case:
    cls: type[FeatureEstimator]
    kwargs: dict[str, Any] = field(default_factory=dict)
    order_matters: bool = False

    def build(self):
        return self.cls(**self.kwargs)

    def fitted(self, prior, current, sizes=None):
        estimator = self.build()
        parts = [len(current)] if sizes is None else sizes
        for one, other in zip(prior.split(parts, dim=1), current.split(parts), strict=True):
            estimator.observe(one, other)
        estimator.fit()
        return estimator


CASES = {
    "accuracy-change": Case(AccuracyChangeEstimator, {"low": -0.1, "high": 0.2}),
    "drift": Case(DriftEstimator),
    "drift-mean": Case(DriftEstimator, {"scale": 0.0}),
    "linear": Case(LinearEstimator),
    "linear-rank": Case(LinearEstimator, {"rank": 2}),
    "mlp": Case(MLPEstimator, {"hidden": 8, "steps": 3}, order_matters=True),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def observed(n=40, more=MORE, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(n, WIDTH + more, generator=generator, dtype=torch.float64)
    maps = torch.randn(MODELS, WIDTH + more, WIDTH, generator=generator, dtype=torch.float64)
    prior = current @ maps + torch.randn(MODELS, n, WIDTH, generator=generator).double()
    return prior.to(dtype), current.to(dtype)


def seeded():
    return torch.Generator().manual_seed(1)


def test_shape_and_dtype(case):
    prior, current = observed()
    estimator = case.fitted(prior, current)
    assert estimator.sizes == (MODELS, WIDTH, WIDTH + MORE)
    for dtype, result in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ):
        estimate = estimator.estimate(current[:7].to(dtype), seeded())
        assert estimate.shape == (MODELS, 7, WIDTH)
        assert estimate.dtype == result
        assert estimate.isfinite().all()
        assert not estimate.requires_grad
    prior, current = observed(more=0)
    assert case.fitted(prior, current).estimate(current).shape == prior.shape


def test_one_prior_model_needs_no_axis_of_its_own(case):
    prior, current = observed()
    estimator = case.build()
    estimator.observe(prior[0], current)
    estimator.fit()
    alone = case.fitted(prior[:1], current).estimate(current, seeded())
    assert torch.equal(estimator.estimate(current, seeded()), alone)


def test_neither_the_order_of_the_images_nor_their_batches_matter(case):
    if case.order_matters:
        pytest.skip("learns by gradient steps on each batch")
    prior, current = observed()
    at_once = case.fitted(prior, current).state_dict()
    order = torch.randperm(len(current), generator=seeded())
    streamed = case.fitted(prior, current, sizes=[1, 2, 13, 24]).state_dict()
    shuffled = case.fitted(prior[:, order], current[order]).state_dict()
    for name, tensor in at_once.items():
        torch.testing.assert_close(streamed[name], tensor, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(shuffled[name], tensor, rtol=1e-5, atol=1e-6)


def test_estimates_of_images_do_not_depend_on_each_other(case):
    prior, current = observed()
    estimator = case.fitted(prior, current)
    if case.cls in (AccuracyChangeEstimator, DriftEstimator):
        estimator.scale = 0.0  # the draws differ, the rest must not
    order = torch.randperm(len(current), generator=seeded())
    found, expected = estimator.estimate(current[order]), estimator.estimate(current)[:, order]
    torch.testing.assert_close(found, expected)


def test_observing_twice_is_deterministic(case):
    prior, current = observed(dtype=torch.float32)
    torch.manual_seed(0)
    first = case.fitted(prior, current, sizes=[20, 20]).state_dict()
    torch.manual_seed(1)
    second = case.fitted(prior, current, sizes=[20, 20]).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_observations(case, dtype):
    prior, current = observed(dtype=dtype)
    state = case.fitted(prior, current).state_dict()
    wide = case.fitted(prior.double(), current.double()).state_dict()
    for name, tensor in wide.items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-3, atol=1e-3)


def test_autocast_changes_nothing(case):
    prior, current = observed(dtype=torch.float32)
    plain = case.fitted(prior, current)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimate = plain.estimate(current, seeded())
        mixed = case.fitted(prior, current).estimate(current, seeded())
    assert torch.equal(estimate, plain.estimate(current, seeded()))
    torch.testing.assert_close(mixed, estimate)


def test_gradients_leave_no_graph_and_inference_mode_is_left(case):
    prior, current = observed(dtype=torch.float32)
    with torch.inference_mode():
        seen = current.clone()
        estimator = case.fitted(prior.clone(), seen)
        inside = estimator.estimate(seen, seeded())
    assert torch.equal(estimator.estimate(seen, seeded()), inside)
    estimator = case.fitted(prior.requires_grad_(), current.requires_grad_())
    assert not any(tensor.requires_grad for tensor in estimator.state_dict().values())
    assert not estimator.estimate(current).requires_grad


def test_state_is_plain_and_complete(case):
    prior, current = observed(dtype=torch.float32)
    estimator = case.fitted(prior, current)
    estimate = estimator.estimate(current, seeded())
    state = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    copied = case.build()
    copied.load_state_dict(state)
    assert torch.equal(copied.estimate(current, seeded()), estimate)
    assert all(tensor.is_contiguous() for tensor in state.values())
    assert copied.nbytes == estimator.nbytes == sum(tensor.nbytes for tensor in state.values())
    for one in (copied, estimator):
        one.fit()  # again, which does nothing
        assert torch.equal(one.estimate(current, seeded()), estimate)
        assert all(torch.equal(one.state_dict()[name], state[name]) for name in state)


def test_fit_forgets_the_observations(case):
    prior, current = observed(n=2000)
    estimator = case.fitted(prior, current)
    assert len(pickle.dumps(estimator)) < estimator.nbytes + 4096
    assert estimator.nbytes < current.nbytes / 10


def test_hyperparameters_make_another(case):
    estimator = case.build()
    assert {**estimator.hyperparameters, **case.kwargs} == estimator.hyperparameters
    another = estimator.fresh()
    assert type(another) is case.cls
    assert another is not estimator
    assert another.hyperparameters == estimator.hyperparameters


def test_wrong_order_of_calls(case):
    prior, current = observed()
    estimator = case.build()
    name = case.cls.__name__
    for early in (estimator.fit, lambda: estimator.sizes):
        with pytest.raises(RuntimeError, match=f"{name} has observed nothing"):
            early()
    for early in (lambda: estimator.estimate(current), estimator.state_dict):
        with pytest.raises(RuntimeError, match=f"{name} is not fitted"):
            early()
    estimator = case.fitted(prior, current)
    with pytest.raises(RuntimeError, match=f"{name} is fitted and cannot observe more"):
        estimator.observe(prior, current)


def with_nan(tensor, *index):
    tensor = tensor.clone()
    tensor[index] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p, c: (p, c[:-1]), ValueError, "M_1 to M_3 have 40 rows but .* current model have"),
        (lambda p, c: (with_nan(p, 1, 7, 0), c), ValueError, "M_2 hold NaN or inf.* 40 .*row 7"),
        (lambda p, c: (p, with_nan(c, 0, 0)), ValueError, "the current model hold NaN"),
        (lambda p, c: (p, c[:, :4]), ValueError, "width 5 but those of the current model only 4"),
        (lambda p, c: (p[:, :0], c[:0]), ValueError, "M_1 must have shape .* at least one row"),
        (lambda p, c: (p[0, 0], c), ValueError, r"shape \(N, d\) or \(K, N, d\), got \(5,\)"),
        (lambda p, c: (p.long(), c), TypeError, "M_1 must be floating-point, got torch.int64"),
    ],
)
def test_bad_observations(case, change, error, message):
    estimator = case.build()
    with pytest.raises(error, match=message):
        estimator.observe(*change(*observed()))
    with pytest.raises(RuntimeError, match="has observed nothing"):
        estimator.fit()


def test_batches_must_be_alike(case):
    prior, current = observed()
    estimator = case.build()
    estimator.observe(prior, current)
    for other in ((prior[:2], current), (prior[..., :4], current), (prior, current[:, :7])):
        with pytest.raises(ValueError, match="earlier batches had 3 prior models of width 5"):
            estimator.observe(*other)


def test_bad_features(case):
    estimator = case.fitted(*observed())
    for features in (torch.zeros(4, WIDTH), torch.zeros(9), torch.zeros(4, 9, dtype=torch.long)):
        with pytest.raises(
            (ValueError, TypeError), match=r"features must be|M_1 to M_3 need features"
        ):
            estimator.estimate(features)


def test_bad_states(case):
    state = case.fitted(*observed()).state_dict()
    name = next(name for name in state if name != "sizes")
    bad = {
        "no 'sizes'": {k: v for k, v in state.items() if k != "sizes"},
        "does not fit": {k: v for k, v in state.items() if k != name},
        "one entry for each of M_1 to M_3": {**state, name: state[name][:2]},
    }
    for message, broken in bad.items():
        with pytest.raises(ValueError, match=message):
            case.build().load_state_dict(broken)


def test_ranges_are_refused_where_they_are_not_used(case):
    estimator = case.fitted(*observed())
    assert not estimator.needs_ranges
    with pytest.raises(TypeError, match=f"{case.cls.__name__} with .* takes no ranges"):
        estimator.set_ranges({1: (0.0, 0.1)})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(case):
    prior, current = observed(dtype=torch.float32)
    expected, estimator = case.fitted(prior, current), case.fitted(prior.cuda(), current.cuda())
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(estimator.state_dict()[name], tensor, rtol=1e-3, atol=1e-3)
    generator = torch.Generator("cuda").manual_seed(0)
    estimate = estimator.estimate(current.cuda(), generator)
    assert estimate.device.type == "cuda"
    assert estimator.estimate(current, seeded()).device.type == "cpu"
