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

from pml_incremental import losses

N, WIDTH = 12, 6
FIVE_ROWS = 5 * 8 * N * torch.float64.itemsize


@dataclass(frozen=True)
class TeacherLoss:
    build: Callable
    teacher_width: int = WIDTH - 1
    needs_labels: bool = False
    non_negative: bool = True


LOSSES = {
    "correlation": TeacherLoss(losses.CorrelationDistillationLoss),
    "correlation-student-target": TeacherLoss(
        partial(losses.CorrelationDistillationLoss, target="student")
    ),
    "correlation-euclidean": TeacherLoss(
        partial(losses.CorrelationDistillationLoss, distance=LpDistance())
    ),
    "correlation-chunked": TeacherLoss(
        partial(losses.CorrelationDistillationLoss, max_bytes=FIVE_ROWS)
    ),
    "correlation-student-target-chunked": TeacherLoss(
        partial(losses.CorrelationDistillationLoss, target="student", max_bytes=FIVE_ROWS)
    ),
    "correlation-euclidean-chunked": TeacherLoss(
        partial(losses.CorrelationDistillationLoss, distance=LpDistance(), max_bytes=FIVE_ROWS)
    ),
    "embedding-l2": TeacherLoss(losses.EmbeddingDistillationLoss, teacher_width=WIDTH),
    "embedding-cosine": TeacherLoss(
        partial(losses.EmbeddingDistillationLoss, kind="cosine"), teacher_width=WIDTH
    ),
    "relational": TeacherLoss(losses.RelationalDistillationLoss),
    "similarity-preserving": TeacherLoss(losses.SimilarityPreservingLoss),
    "mmd": TeacherLoss(losses.MMDLoss, teacher_width=WIDTH, non_negative=False),
    "logit": TeacherLoss(losses.LogitDistillationLoss),
    "rectified-correlation": TeacherLoss(losses.RectifiedCorrelationLoss, needs_labels=True),
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


def test_one_loss_for_each_anchor(case):
    info = elements(case, *batch(case))
    assert info["losses"].shape == (N,)
    assert info["losses"].isfinite().all()
    assert info["indices"].tolist() == list(range(N))
    assert info["reduction_type"] == "element"
    if case.non_negative:
        assert info["losses"].min() >= 0


def test_default_is_the_mean_of_the_elements_and_positive(case):
    student, labels, teacher = batch(case)
    value = case.build()(student, labels, ref_emb=teacher)
    torch.testing.assert_close(value, elements(case, student, labels, teacher)["losses"].mean())
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


@pytest.mark.parametrize(
    "regularizer",
    [
        LpRegularizer(power=2),
        ZeroMeanRegularizer(),
        RegularFaceRegularizer(),
        CenterInvariantRegularizer(),
    ],
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
    torch.testing.assert_close(
        gradient(tracker.losses["total_loss"], student), 0.5 * expected, rtol=1e-9, atol=0
    )


def test_teacher_gets_no_gradient(case):
    student, labels, teacher = batch(case)
    case.build()(student, labels, ref_emb=teacher.requires_grad_()).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


def test_zero_where_student_and_teacher_agree(case):
    student, _, _ = batch(case)
    value = case.build()(student, torch.arange(N), ref_emb=student.detach().clone())
    assert value == 0
    assert gradient(value, student).abs().max() < 1e-15


def test_order_of_the_images_does_not_matter(case):
    student, labels, teacher = batch(case)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        elements(case, student[order], labels[order], teacher[order])["losses"],
        elements(case, student, labels, teacher)["losses"][order],
    )


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


def test_holds_no_tensors(case):
    student, labels, teacher = batch(case)
    loss = case.build()
    loss(student, labels, ref_emb=teacher)
    assert not loss.state_dict()
    assert not any(isinstance(v, torch.Tensor) for m in loss.modules() for v in vars(m).values())


def test_collecting_stats_changes_nothing(case):
    student, labels, teacher = batch(case)
    value = case.build(collect_stats=True)(student, labels, ref_emb=teacher)
    assert value == case.build()(student, labels, ref_emb=teacher)


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
    return model, images, labels, built, teachers


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_have_the_gradient_of_one(distributed_results, name):
    model, images, labels, built, teachers = distributed_setting()
    expected = built[name](model(images), labels, ref_emb=teachers[name])
    expected.backward()
    for results in distributed_results:
        value, weight_gradient = results[name]
        assert value == pytest.approx(expected.item())
        torch.testing.assert_close(weight_gradient, model.weight.grad)


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
