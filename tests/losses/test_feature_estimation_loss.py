import copy
import math
import pickle
from functools import partial

import pytest
import torch
from pytorch_metric_learning.distances import (
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
)
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from pytorch_metric_learning.utils.loss_tracker import LossTracker
from torch.nn import functional as F

from pml_incremental.estimators import AccuracyChangeEstimator, EstimatorBank
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss

N, WIDTH = 8, 5
SPECS = {
    "accuracy-change": {"AccuracyChangeEstimator": {"low": -0.4, "high": 0.5}},
    "drift": "DriftEstimator",
    "linear": "LinearEstimator",
    "linear-rank": {"LinearEstimator": {"rank": 2}},
    "mlp": {"MLPEstimator": {"hidden": 4, "steps": 2}},
}
UNCHANGED = {"AccuracyChangeEstimator": {"low": 0.0, "high": 0.0}}
DISTANCES = [
    DotProductSimilarity(),
    DotProductSimilarity(normalize_embeddings=False),
    CosineSimilarity(collect_stats=True),
    LpDistance(power=2),
    SNRDistance(),
]
EVERY = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def filled(spec, models=3, seed=0):
    bank = EstimatorBank(spec, seed=seed)
    for t in range(models):
        current = randn(40, WIDTH, seed=10 + t)
        bank.update([(current + 0.5 * randn(40, WIDTH, seed=20 + t), current)])
    return bank


def pair(n=N, dtype=torch.float64):
    return randn(n, WIDTH + 1, dtype=dtype).requires_grad_(), randn(n, WIDTH, seed=1, dtype=dtype)


def elements(loss, student, teacher):
    loss.reducer = DoNothingReducer()
    return loss(student, ref_emb=teacher)["loss"]["losses"]


def softmax(row):
    largest = max(row)
    powers = [math.exp(value - largest) for value in row]
    return [power / sum(powers) for power in powers]


def cosines(z, i):
    z = z.double()
    return [(z[i] @ other / z[i].norm() / other.norm()).item() for other in z]


def naive(student, estimates, weights, temperature):
    """Anchor by anchor, model by model."""
    losses = [0.0] * len(student)
    for weight, estimate in zip(weights, estimates, strict=True):
        for i in range(len(student)):
            q = softmax([s / temperature for s in cosines(estimate, i)])
            p = softmax([s / temperature for s in cosines(student.detach(), i)])
            kl = sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
            losses[i] += weight * temperature**2 * kl
    return torch.tensor(losses, dtype=torch.float64)


@EVERY
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_equals_loops_over_models_and_anchors(spec, temperature):
    student, teacher = pair()
    estimates = filled(spec).estimate(teacher)
    losses = elements(FeatureEstimationLoss(filled(spec), temperature), student, teacher)
    expected = naive(student, estimates, [1 / 3] * 3, temperature)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("model_weights", "oldest_first"),
    [
        ("uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("recency", [2 / 11, 3 / 11, 6 / 11]),
        ([3, 1, 0], [0, 1 / 4, 3 / 4]),
        ((1.0, 1.0, 2.0, 5.0), [2 / 4, 1 / 4, 1 / 4]),
    ],
)
def test_weights_by_age(model_weights, oldest_first):
    student, teacher = pair()
    bank = filled("LinearEstimator")
    loss = FeatureEstimationLoss(bank, model_weights=model_weights)
    expected = naive(student, bank.estimate(teacher), oldest_first, 4.0)
    torch.testing.assert_close(elements(loss, student, teacher), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_is_the_mean_of_correlation_losses_for_any_distance(distance):
    student, teacher = pair()
    bank = filled("LinearEstimator")
    value = FeatureEstimationLoss(bank, 2.0, distance=distance)(student, ref_emb=teacher)
    single = CorrelationDistillationLoss(2.0, distance=distance)
    expected = sum(single(student, ref_emb=estimate) for estimate in bank.estimate(teacher)) / 3
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (value, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("distance", [None, *DISTANCES], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("max_bytes", [1, 5 * 8 * 3 * N * 8])
def test_chunks_change_neither_value_nor_gradient(distance, max_bytes):
    student, teacher = pair()
    bank, reducers = filled("LinearEstimator"), {"reducer": DoNothingReducer()}
    results = []
    for limit in (max_bytes, None):
        loss = FeatureEstimationLoss(bank, 0.7, "recency", distance, limit, **reducers)
        values = loss(student, ref_emb=teacher)["loss"]["losses"]
        weighted = (torch.arange(N) * values).sum()
        results.append((values, *torch.autograd.grad(weighted, student)))
    torch.testing.assert_close(*results)


def test_chunks_of_random_estimates_use_one_draw():
    student, teacher = pair()
    spec = SPECS["accuracy-change"]
    losses = [FeatureEstimationLoss(filled(spec), max_bytes=limit) for limit in (1, None)]
    torch.testing.assert_close(*(loss(student, ref_emb=teacher) for loss in losses))


def test_unchanged_features_give_the_correlation_loss():
    student, teacher = pair()
    value = FeatureEstimationLoss(filled(UNCHANGED))(student, ref_emb=teacher)
    torch.testing.assert_close(value, CorrelationDistillationLoss()(student, ref_emb=teacher))


@EVERY
def test_gradient(spec):
    student, teacher = pair()

    def loss(z):
        return FeatureEstimationLoss(filled(spec), temperature=0.5)(z, ref_emb=teacher)

    assert torch.autograd.gradcheck(loss, (student,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EVERY
def test_half_precision_within_one_percent(spec, dtype):
    student, teacher = pair(dtype=dtype)
    value = FeatureEstimationLoss(filled(spec))(student, ref_emb=teacher)
    # The draws of random numbers differ between dtypes wider than these.
    expected = FeatureEstimationLoss(filled(spec))(student.float(), ref_emb=teacher.float())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("build", [FeatureEstimationLoss, partial(FeatureEstimationLoss, None)])
def test_inactive_while_the_bank_is_empty(build):
    student, teacher = pair()
    loss = build()
    value = loss(student, torch.arange(N) % 2, ref_emb=teacher)
    value.backward()
    assert value == 0
    assert student.grad.abs().max() == 0
    assert elements(loss, student, teacher).shape == (N,)


def test_becomes_active_when_the_bank_is_filled():
    student, teacher = pair()
    bank = EstimatorBank()
    loss = FeatureEstimationLoss(bank)
    assert loss(student, ref_emb=teacher) == 0
    bank.update([(randn(20, WIDTH, seed=5), randn(20, WIDTH, seed=6))])
    assert loss(student, ref_emb=teacher) > 0


def test_inactive_loss_beside_others_in_a_loss_tracker():
    student, teacher = pair()
    tracker = LossTracker(["metric_loss", "estimation_loss"])
    tracker.losses["metric_loss"] = student.square().sum()
    tracker.losses["estimation_loss"] = FeatureEstimationLoss()(student, ref_emb=teacher)
    tracker.update({"estimation_loss": 10})
    tracker.losses["total_loss"].backward()
    torch.testing.assert_close(student.grad, 2 * student.detach())


def test_random_draws_are_fresh_and_seeded():
    student, teacher = pair()
    first, second = (FeatureEstimationLoss(filled(SPECS["accuracy-change"])) for _ in range(2))
    values = [first(student, ref_emb=teacher) for _ in range(3)]
    assert len({value.item() for value in values}) == 3
    assert [second(student, ref_emb=teacher) for _ in range(3)] == values


def test_the_bank_is_no_part_of_the_module():
    loss = FeatureEstimationLoss(filled("LinearEstimator"))
    assert not list(loss.parameters())
    modules = {FeatureEstimationLoss, type(loss.distance), MeanReducer}
    assert {type(module) for module in loss.modules()} == modules
    assert loss._record_these == ["temperature"]


def test_copies_and_pickles():
    student, teacher = pair()
    loss = FeatureEstimationLoss(filled(SPECS["drift"]))
    value = copy.deepcopy(loss)(student, ref_emb=teacher)
    assert pickle.loads(pickle.dumps(loss))(student, ref_emb=teacher) == value


@pytest.mark.parametrize("bank", [EstimatorBank(), None, "filled"])
def test_missing_or_bad_teacher(bank):
    student, teacher = pair()
    loss = FeatureEstimationLoss(filled("LinearEstimator") if bank == "filled" else bank)
    for arguments in ({}, {"ref_emb": student}):
        message = r"FeatureEstimationLoss needs the teacher's .* ref_emb"
        with pytest.raises(ValueError, match=message):
            loss(student, **arguments)
    with pytest.raises(ValueError, match="embeddings has 8 rows but ref_emb has 7"):
        loss(student, ref_emb=teacher[:-1])


def test_teacher_of_another_width_too_few_weights_and_unset_ranges():
    student, teacher = pair()
    bank = filled("LinearEstimator")
    with pytest.raises(ValueError, match=r"M_1 to M_3 need features of shape \(N, 5\).* \(8, 4\)"):
        FeatureEstimationLoss(bank)(student, ref_emb=teacher[:, :4])
    message = r"2 numbers but there are 3 prior models: .* M_1, which is 3"
    with pytest.raises(ValueError, match=message):
        FeatureEstimationLoss(bank, model_weights=[1.0, 0.5])(student, ref_emb=teacher)
    bank = filled("AccuracyChangeEstimator", models=1)
    with pytest.raises(RuntimeError, match="no accuracy range is set for prior model M_1"):
        FeatureEstimationLoss(bank)(student, ref_emb=teacher)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("random", 'must be "uniform", "recency" or numbers'),
        ([], "must be finite and at least 0, the first above 0"),
        ([0.0, 1.0], "the first above 0"),
        ([1.0, -1.0], "at least 0"),
        ([1.0, math.nan], "must be finite"),
    ],
)
def test_bad_weights_and_temperature(weights, message):
    with pytest.raises(ValueError, match=message):
        FeatureEstimationLoss(model_weights=weights)
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        FeatureEstimationLoss(temperature=0.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY
def test_cuda(spec):
    student, teacher = pair(dtype=torch.float32)
    student = student.detach().cuda().requires_grad_()
    value = FeatureEstimationLoss(filled(spec))(student, ref_emb=teacher.cuda())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    if spec in ("LinearEstimator", SPECS["mlp"], SPECS["linear-rank"]):
        expected = FeatureEstimationLoss(filled(spec))(student.cpu(), ref_emb=teacher)
        assert value.item() == pytest.approx(expected.item(), rel=1e-3)


def test_estimator_instance_in_a_bank_in_a_loss():
    bank = EstimatorBank(AccuracyChangeEstimator(low=0.0, high=0.0))
    bank.update([(randn(6, WIDTH), randn(6, WIDTH))])
    student, teacher = pair()
    expected = CorrelationDistillationLoss()(student, ref_emb=F.normalize(teacher))
    torch.testing.assert_close(FeatureEstimationLoss(bank)(student, ref_emb=teacher), expected)
