"""What every loss called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)`` must do.

A new loss gets all of it for one line in ``LOSSES``.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import (
    AvgNonZeroReducer,
    ClassWeightedReducer,
    DoNothingReducer,
    MeanReducer,
    MultipleReducers,
    PerAnchorReducer,
    SumReducer,
    ThresholdReducer,
)
from pytorch_metric_learning.regularizers import (
    CenterInvariantRegularizer,
    LpRegularizer,
    RegularFaceRegularizer,
    ZeroMeanRegularizer,
)
from pytorch_metric_learning.utils.loss_tracker import LossTracker
from torch import multiprocessing
from torch.nn.functional import normalize

from pml_incremental import losses
from pml_incremental.estimators import EstimatorBank

N, WIDTH = 12, 6
FIVE_ROWS = 5 * 8 * N * torch.float64.itemsize


@dataclass(frozen=True)
class TeacherLoss:
    build: Callable
    teacher_width: int = WIDTH - 1
    needs_labels: bool = False
    non_negative: bool = True
    rounding: float = 0.0  # of the value where student and teacher agree


def correlation(**kwargs):
    return TeacherLoss(partial(losses.CorrelationDistillationLoss, **kwargs))


def estimation(drift, estimator="LinearEstimator", **kwargs):
    bank = EstimatorBank(estimator)
    for seed in range(3):
        old, new = torch.randn(2, 40, WIDTH, generator=torch.Generator().manual_seed(seed)).double()
        bank.update([(new + drift * old, new)])
    return losses.FeatureEstimationLoss(bank, **kwargs)


LOSSES = {
    "correlation": correlation(),
    "correlation-student-target": correlation(target="student"),
    "correlation-euclidean": correlation(distance=LpDistance()),
    "correlation-chunked": correlation(max_bytes=FIVE_ROWS),
    "correlation-student-target-chunked": correlation(target="student", max_bytes=FIVE_ROWS),
    "correlation-euclidean-chunked": correlation(distance=LpDistance(), max_bytes=FIVE_ROWS),
    "embedding-l2": TeacherLoss(losses.EmbeddingDistillationLoss, WIDTH),
    "embedding-cosine": TeacherLoss(partial(losses.EmbeddingDistillationLoss, "cosine"), WIDTH),
    "relational": TeacherLoss(losses.RelationalDistillationLoss),
    "similarity-preserving": TeacherLoss(losses.SimilarityPreservingLoss),
    "mmd": TeacherLoss(losses.MMDLoss, WIDTH, non_negative=False),
    "logit": TeacherLoss(losses.LogitDistillationLoss),
    "rectified-correlation": TeacherLoss(losses.RectifiedCorrelationLoss, needs_labels=True),
    "estimation": TeacherLoss(partial(estimation, 0.5), WIDTH, rounding=float("inf")),
    "estimation-of-no-drift": TeacherLoss(partial(estimation, 0), WIDTH, rounding=1e-30),
}


@pytest.fixture(params=LOSSES)
def case(request):
    return LOSSES[request.param]


def batch(case, n=N, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(n, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
    teacher = torch.randn(n, case.teacher_width, generator=generator, dtype=torch.float64).to(dtype)
    return student.requires_grad_(), torch.arange(n) % 4, teacher


def elements(case, student, labels, teacher):
    """The losses that reducers are given."""
    loss_dict = case.build(reducer=DoNothingReducer())(student, labels, ref_emb=teacher)
    assert list(loss_dict) == ["loss"]
    return loss_dict["loss"]


def gradient(value, student):
    (result,) = torch.autograd.grad(value, student)
    return result


def test_one_loss_for_each_anchor_whose_mean_is_the_default(case):
    student, labels, teacher = batch(case)
    info = elements(case, student, labels, teacher)
    assert info["losses"].shape == (N,)
    assert info["losses"].isfinite().all()
    assert info["indices"].tolist() == list(range(N))
    assert info["reduction_type"] == "element"
    if case.non_negative:
        assert info["losses"].min() >= 0
    value = case.build()(student, labels, ref_emb=teacher)
    torch.testing.assert_close(value, info["losses"].mean())
    assert value > 0


REDUCERS = {
    "mean": (MeanReducer(), lambda e, y: e.mean()),
    "sum": (SumReducer(), lambda e, y: e.sum()),
    "avg-non-zero": (AvgNonZeroReducer(), lambda e, y: e[e > 0].mean()),
    "class-weighted": (
        ClassWeightedReducer(torch.tensor([1.0, 2.0, 0.5, 0.0])),
        lambda e, y: (e * torch.tensor([1.0, 2.0, 0.5, 0.0])[y]).mean(),
    ),
    "per-anchor": (PerAnchorReducer(), lambda e, y: e.mean()),
    "per-anchor-sum": (PerAnchorReducer(SumReducer()), lambda e, y: e.sum()),
    "multiple": (MultipleReducers({"loss": SumReducer()}), lambda e, y: e.sum()),
}


@pytest.mark.parametrize("name", REDUCERS)
def test_reducers(case, name):
    reducer, expected_of = REDUCERS[name]
    student, labels, teacher = batch(case)
    expected = expected_of(elements(case, student, labels, teacher)["losses"], labels)
    value = case.build(reducer=copy.deepcopy(reducer))(student, labels, ref_emb=teacher)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, student), gradient(expected, student))


def test_threshold_reducers(case):
    student, labels, teacher = batch(case)
    values = elements(case, student, labels, teacher)["losses"]
    middle = values.median().item()
    for reducer, kept in (
        (ThresholdReducer(low=middle), values > middle),
        (ThresholdReducer(high=middle), values < middle),
    ):
        value = case.build(reducer=reducer)(student, labels, ref_emb=teacher)
        torch.testing.assert_close(value, values[kept].mean())


CENTERS = CenterInvariantRegularizer()


@pytest.mark.parametrize(
    "regularizer",
    [LpRegularizer(power=2), ZeroMeanRegularizer(), RegularFaceRegularizer(), CENTERS],
    ids=lambda regularizer: type(regularizer).__name__,
)
def test_embedding_regularizers(case, regularizer):
    student, labels, teacher = batch(case)
    loss = case.build(embedding_regularizer=regularizer, embedding_reg_weight=0.3)
    value = loss(student, labels, ref_emb=teacher)
    expected = case.build()(student, labels, ref_emb=teacher) + 0.3 * regularizer(student)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, student), gradient(expected, student))


def test_loss_tracker_scales_in_place(case):
    student, labels, teacher = batch(case)
    expected = gradient(case.build()(student, labels, ref_emb=teacher), student)
    tracker = LossTracker(["metric_loss", "distillation_loss"])
    tracker.losses["metric_loss"] = student.sum() * 0
    tracker.losses["distillation_loss"] = case.build()(student, labels, ref_emb=teacher)
    tracker.update({"distillation_loss": 0.5})
    actual = gradient(tracker.losses["total_loss"], student)
    torch.testing.assert_close(actual, 0.5 * expected, rtol=1e-9, atol=0)


def test_teacher_gets_no_gradient(case):
    student, labels, teacher = batch(case)
    case.build()(student, labels, ref_emb=teacher.requires_grad_()).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


def test_zero_where_student_and_teacher_agree(case):
    student, _, _ = batch(case)
    value = case.build()(student, torch.arange(N), ref_emb=student.detach().clone())
    assert abs(value) <= case.rounding
    if case.rounding < 1:
        assert gradient(value, student).abs().max() < 1e-15


def test_order_of_the_images_does_not_matter(case):
    student, labels, teacher = batch(case)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    shuffled = elements(case, student[order], labels[order], teacher[order])["losses"]
    torch.testing.assert_close(shuffled, elements(case, student, labels, teacher)["losses"][order])


def test_labels_may_be_missing_unless_needed(case):
    student, labels, teacher = batch(case)
    if case.needs_labels:
        with pytest.raises(ValueError, match="needs labels"):
            case.build()(student, ref_emb=teacher)
    else:
        value = case.build()(student, ref_emb=teacher)
        assert value == case.build()(student, labels, ref_emb=teacher)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_within_one_percent(case, dtype):
    student, labels, teacher = batch(case, dtype=dtype)
    wide = student.detach().double().requires_grad_()
    expected = case.build()(wide, labels, ref_emb=teacher.double())
    value = case.build()(student, labels, ref_emb=teacher)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=0.01)
    # Scaled as in mixed-precision training, so that float16 can hold the gradients.
    actual = gradient(2.0**8 * value, student).double() / 2.0**8
    target = gradient(expected, wide)
    assert (actual - target).norm() / target.norm() < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(case, dtype):
    student, labels, teacher = batch(case, dtype=torch.float32)
    expected = case.build()(student, labels, ref_emb=teacher)
    with torch.autocast("cpu", dtype=dtype):
        value = case.build()(student, labels, ref_emb=teacher)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, student), gradient(expected, student))


@pytest.mark.parametrize("n", [1, 2])
def test_tiny_batches(case, n):
    student, labels, teacher = batch(case, n=n)
    value = case.build()(student, labels, ref_emb=teacher)
    assert value.isfinite()
    assert gradient(value, student).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_and_zero_embeddings_have_finite_gradients(case, dtype):
    student, labels, teacher = batch(case, dtype=dtype)
    degenerate = student.detach().clone()
    degenerate[1] = degenerate[0]
    degenerate[2:4] = 0
    degenerate.requires_grad_()
    value = case.build()(degenerate, labels, ref_emb=teacher)
    assert value.isfinite()
    assert gradient(value, degenerate).isfinite().all()


def test_holds_no_tensors_and_collecting_stats_changes_nothing(case):
    student, labels, teacher = batch(case)
    loss = case.build()
    value = loss(student, labels, ref_emb=teacher)
    assert not loss.state_dict()
    assert not any(isinstance(v, torch.Tensor) for m in loss.modules() for v in vars(m).values())
    assert case.build(collect_stats=True)(student, labels, ref_emb=teacher) == value


def test_missing_teacher(case):
    student, labels, _ = batch(case)
    name = type(case.build()).__name__
    for arguments in ({}, {"ref_emb": student}):
        with pytest.raises(ValueError, match=f"{name} needs the teacher's .* as ref_emb"):
            case.build()(student, labels, **arguments)
    with pytest.raises(ValueError, match="ref_emb"):
        case.build().compute_loss(student, labels)


@pytest.mark.parametrize(
    ("change_student", "change_teacher", "error", "message"),
    [
        (lambda z: z, lambda t: t[:-1], ValueError, f"embeddings has {N} rows but ref_emb has 11"),
        (lambda z: z[:0], lambda t: t[:0], ValueError, r"embeddings is empty \(N = 0\)"),
        (lambda z: z.unsqueeze(2), lambda t: t, ValueError, r"embeddings must have shape \(N, d\)"),
        (lambda z: z, lambda t: t[:, 0], ValueError, r"ref_emb must have shape \(N, d\)"),
        (lambda z: z, lambda t: t.long(), TypeError, "ref_emb must be of a floating-point dtype"),
        (lambda z: z, lambda t: t.numpy(), TypeError, "ref_emb must be a torch.Tensor"),
    ],
)
def test_bad_input(case, change_student, change_teacher, error, message):
    student, labels, teacher = batch(case)
    student = change_student(student)
    with pytest.raises(error, match=message):
        case.build()(student, labels[: len(student)], ref_emb=change_teacher(teacher))


@pytest.fixture(scope="module")
def distributed_results(tmp_path_factory):
    """Loss and weight gradient on both ranks, for every loss, from one group of processes."""
    folder = tmp_path_factory.mktemp("gloo")
    setting = distributed_setting()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        from distributed_gradients import save_gradients

        multiprocessing.spawn(save_gradients, (2, str(folder), *setting), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def distributed_setting():
    torch.manual_seed(0)
    model = torch.nn.Linear(7, WIDTH, bias=False).double()
    images, labels = torch.randn(N, 7).double(), torch.arange(N) % 3
    built = {name: case.build() for name, case in LOSSES.items()}
    teachers = {name: torch.randn(N, case.teacher_width).double() for name, case in LOSSES.items()}
    drawing = estimation(0.5, {"AccuracyChangeEstimator": {"low": -0.4, "high": 0.5}})
    return model, images, labels, built, teachers, drawing


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_have_the_gradient_of_one(distributed_results, name):
    model, images, labels, built, teachers, _ = distributed_setting()
    expected = built[name](model(images), labels, ref_emb=teachers[name])
    expected.backward()
    for results in distributed_results:
        value, weight_gradient = results[name]
        assert value == pytest.approx(expected.item())
        torch.testing.assert_close(weight_gradient, model.weight.grad)


@pytest.mark.slow
def test_two_processes_draw_the_same(distributed_results):
    """Every process gathers the whole batch and sees its own part of the gradient."""
    _, images, _, _, teachers, _ = distributed_setting()
    for rank, results in enumerate(distributed_results):
        drawing = distributed_setting()[-1]
        # Each process puts its own part first, so that draws belong to other images than in one
        # process.
        student, teacher = (
            torch.cat([rows[rank * N // 2 :], rows[: rank * N // 2]])
            for rows in (images[:, :-1], teachers["estimation"])
        )
        values, part = results["drawn"]
        leaf = student.clone().requires_grad_()
        expected = [drawing(leaf, ref_emb=teacher) for _ in range(2)]
        assert [value / 2 for value in values] == pytest.approx([v.item() for v in expected])
        sum(expected).backward()
        torch.testing.assert_close(part / 2, leaf.grad[: N // 2])


@pytest.mark.slow
def test_an_efficient_wrapper_is_named_as_the_reason(distributed_results):
    for results in distributed_results:
        assert "teacher's of all 2, as DistributedLossWrapper(efficient=True)" in results["refusal"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_cuda(case, dtype, autocast):
    student, labels, teacher = batch(case, dtype=dtype)
    wide = student.detach().double().requires_grad_()
    expected = case.build()(wide, labels, ref_emb=teacher.double())
    student = student.detach().cuda().requires_grad_()
    with torch.autocast("cuda", enabled=autocast):
        value = case.build()(student, labels, ref_emb=teacher.cuda())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=0.01)
    actual = gradient(2.0**8 * value, student).cpu().double() / 2.0**8
    target = gradient(expected, wide)
    assert (actual - target).norm() / target.norm() < 0.01


MEASURES = ["correlation", "embedding-l2", "embedding-cosine", "relational"]
MEASURES += ["similarity-preserving", "rectified-correlation"]


@st.composite
def batches(draw):
    """Embeddings of student and teacher, labels, and a permutation of the rows."""
    n, width = draw(st.integers(3, 9)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([1e-3, 1.0, 30.0]))
    shape = (2, n, width)
    student, teacher = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return student, teacher, labels, torch.randperm(n, generator=generator)


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_finite_not_negative_and_free_of_the_order_of_images(name, batch):
    student, teacher, labels, order = batch
    loss = LOSSES[name].build()
    student = student.requires_grad_()
    value = loss(student, labels, ref_emb=teacher)
    value.backward()
    assert value.item() >= -1e-9
    assert student.grad.isfinite().all()
    again = loss(student[order], labels[order], ref_emb=teacher[order])
    torch.testing.assert_close(again, value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", MEASURES[:-1])
@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_zero_where_the_student_is_its_teacher(name, batch):
    student, _, labels, _ = batch
    student = student.requires_grad_()
    value = LOSSES[name].build()(student, labels, ref_emb=student.detach().clone())
    value.backward()
    assert abs(value.item()) < 1e-9
    assert student.grad.abs().max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_correlations_do_not_see_a_rotation(batch):
    student, teacher, labels, _ = batch
    rotation = torch.linalg.qr(teacher.T @ teacher + torch.eye(teacher.shape[1]).double())[0]
    loss = losses.CorrelationDistillationLoss()
    values = [
        loss(normalize(student @ turn), labels, ref_emb=teacher)
        for turn in (torch.eye(len(rotation)).double(), rotation)
    ]
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-9)
