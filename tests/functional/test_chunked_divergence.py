import pytest
import torch
from torch.nn import functional as F

from pml_incremental.functional import correlation_distillation
from pml_incremental.functional.chunked_divergence import (
    DEFAULT_MAX_BYTES,
    chunked_divergence,
    rows_at_a_time,
)

N, MODELS = 9, 3
ROWS = pytest.mark.parametrize("rows", [1, 2, 4, N, 20])
COMPILERS = pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        lambda f: torch.compile(f, backend="aot_eager", fullgraph=True),
    ],
    ids=["eager", "compiled"],
)


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def pair(n=N, models=MODELS, dtype=torch.float64):
    student, targets = randn(n, 4, dtype=dtype), randn(models, n, 3, seed=1, dtype=dtype)
    return student.requires_grad_(), targets.requires_grad_()


def whole(student, targets, temperature):
    return torch.stack(
        [correlation_distillation(student, t, temperature, max_bytes=None) for t in targets]
    )


@ROWS
@pytest.mark.parametrize("temperature", [0.3, 4.0])
def test_value_and_gradients_are_those_of_whole_matrices(rows, temperature):
    student, targets = pair()
    upstream = randn(MODELS, N, seed=2)
    results = [
        (value, *torch.autograd.grad((upstream * value).sum(), (student, targets)))
        for value in (
            chunked_divergence(student, targets, temperature, rows),
            whole(student, targets, temperature),
        )
    ]
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("argument", [0, 1])
def test_gradient_of_one_argument_alone(argument):
    arguments = [tensor.detach() for tensor in pair()]
    arguments[argument].requires_grad_()
    chunked_divergence(*arguments, 4.0, 2).sum().backward()
    (expected,) = torch.autograd.grad(whole(*arguments, 4.0).sum(), arguments[argument])
    torch.testing.assert_close(arguments[argument].grad, expected)


def test_chosen_by_max_bytes():
    (student, targets), row = pair(), 8 * N * 8
    for max_bytes in (1, row, 4 * row):
        value = correlation_distillation(student, targets[0], 0.5, max_bytes)
        torch.testing.assert_close(value, whole(student, targets, 0.5)[0])


@pytest.mark.parametrize("argument", [0, 1])
def test_no_second_derivative(argument):
    arguments = pair()
    value = chunked_divergence(*arguments, 4.0, 4)
    (gradient,) = torch.autograd.grad(value.sum(), arguments[argument], create_graph=True)
    with pytest.raises(RuntimeError, match="in chunks have no second derivative"):
        gradient.sum().backward()


def relative_error(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("change", [1e-4, 0.1, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 4.0])
def test_as_precise_in_float32_as_whole_matrices(change, temperature):
    teacher = F.normalize(randn(200, 16))
    student = F.normalize(teacher + change * randn(200, 16, seed=1)).float().requires_grad_()
    teacher = teacher.float()

    def value_and_gradient(compute, student, targets):
        value = compute(student, targets)
        return value.detach(), torch.autograd.grad(value.mean(), student)[0]

    wide = student.detach().double().requires_grad_()
    exact = value_and_gradient(lambda z, t: whole(z, t, temperature), wide, teacher.double()[None])
    kept = value_and_gradient(lambda z, t: whole(z, t, temperature), student, teacher[None])
    mine = value_and_gradient(
        lambda z, t: chunked_divergence(z, t, temperature, 32), student, teacher[None]
    )
    assert mine[0].min() >= 0
    for chunked, stored, expected in zip(mine, kept, exact, strict=True):
        assert relative_error(chunked, expected) < 2 * relative_error(stored, expected) + 1e-6


def test_extreme_similarities_stay_finite():
    student = torch.tensor([[1e3, 0.0], [-1e3, 1.0], [0.0, 1e-3]], requires_grad=True)
    targets = torch.tensor([[[-1e3, 5.0], [1.0, 1e3], [1e3, 0.0]]], requires_grad=True)
    value = chunked_divergence(student, targets, 0.1, 2)
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()
    assert targets.grad.isfinite().all()


def test_wider_of_two_dtypes():
    student, targets = randn(N, 4, dtype=torch.float32).requires_grad_(), randn(1, N, 3)
    value = chunked_divergence(student, targets, 4.0, 2)
    value.sum().backward()
    assert value.dtype == torch.float64
    assert student.grad.dtype == torch.float32
    torch.testing.assert_close(value, whole(student.double(), targets, 4.0))


@COMPILERS
def test_keeps_nothing_of_the_size_of_a_similarity_matrix(wrap):
    n = 40
    student, targets = pair(n=n)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = wrap(lambda z, t: chunked_divergence(z, t, 4.0, 8))(student, targets)
    assert max(kept) <= targets.numel() < n * n
    actual = torch.autograd.grad(value.sum(), (student, targets))
    expected = torch.autograd.grad(whole(student, targets, 4.0).sum(), (student, targets))
    torch.testing.assert_close(actual, expected)


def test_operators_keep_to_their_declarations():
    student, targets = (tensor.detach() for tensor in pair())
    inputs = (student.unsqueeze(0), targets, 4.0, 4)
    operators = torch.ops.pml_incremental
    kept = operators.chunked_divergence(*inputs)
    for tensor in inputs[:2]:
        tensor.requires_grad_()
    torch.library.opcheck(operators.chunked_divergence, inputs)
    for tensor in inputs[:2]:
        tensor.requires_grad_(False)
    for gradient in ("student", "target"):
        operator = getattr(operators, f"chunked_divergence_{gradient}_gradient")
        torch.library.opcheck(operator, (torch.ones_like(kept[0]), *kept, *inputs))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda(dtype):
    student, targets = (tensor.detach().cuda().requires_grad_() for tensor in pair(dtype=dtype))
    value = chunked_divergence(student, targets, 0.5, 4)
    value.sum().backward()
    wide = pair()
    expected = whole(*wide, 0.5)
    expected.sum().backward()
    for mine, reference in ((value, expected), (student.grad, wide[0].grad)):
        torch.testing.assert_close(
            mine.detach().cpu().double(), reference.detach(), rtol=1e-3, atol=1e-4
        )


CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_none_where_all_fits():
    assert rows_at_a_time(10, 1, torch.float32, CPU, None) is None
    assert rows_at_a_time(10, 1, torch.float32, CPU, 8 * 10 * 10 * 4) is None
    assert rows_at_a_time(10, 1, torch.float32, CPU, 8 * 10 * 10 * 4 - 1) == 9
    default = (torch.float32, CPU, DEFAULT_MAX_BYTES)
    assert rows_at_a_time(2896, 1, *default) is None
    assert rows_at_a_time(2897, 1, *default) == 128
    assert rows_at_a_time(915, 10, *default) is None
    assert rows_at_a_time(916, 10, *default) == 128
    assert rows_at_a_time(10**6, 20, torch.float64, CPU, 1) == 1  # at least one row


@pytest.mark.parametrize("models", [1, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_stay_within_the_limit(models, dtype):
    for count in (3000, 20_000, 300_000):
        rows = rows_at_a_time(count, models, dtype, GPU, DEFAULT_MAX_BYTES)
        size = 8 * models * count * dtype.itemsize
        assert rows * size <= DEFAULT_MAX_BYTES < (rows + 1) * size


@pytest.mark.parametrize(
    ("max_bytes", "error", "message"),
    [
        (0, ValueError, "max_bytes must be at least 1, got 0"),
        (-5, ValueError, "max_bytes must be at least 1, got -5"),
        (1e9, TypeError, "max_bytes must be an integer or None, got 1000000000.0"),
        (True, TypeError, "max_bytes must be an integer or None, got True"),
    ],
)
def test_bad_limit(max_bytes, error, message):
    with pytest.raises(error, match=message):
        correlation_distillation(torch.eye(2), torch.eye(2), max_bytes=max_bytes)
