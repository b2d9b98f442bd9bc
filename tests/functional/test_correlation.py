import pytest
import torch
from torch.nn import functional as F

from pml_incremental.functional import correlation_distillation, similarity_divergence
from pml_incremental.functional.correlation import self_similarity

TEMPERATURES = [0.1, 0.5, 1.0, 4.0]


def embeddings(n=9, d=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)


def relative_error(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


def test_never_negative_and_precise_for_a_student_close_to_its_teacher():
    teacher = F.normalize(embeddings(n=32, d=16))
    student = F.normalize(teacher + 1e-4 * embeddings(n=32, d=16, seed=1))
    student, teacher = student.float().requires_grad_(), teacher.float()
    single = correlation_distillation(student, teacher)
    single.sum().backward()
    wide = student.detach().double().requires_grad_()
    expected = correlation_distillation(wide, teacher.double())
    expected.sum().backward()
    assert single.min() >= 0
    assert relative_error(single.detach(), expected.detach()) < 0.01
    assert relative_error(student.grad, wide.grad) < 0.01


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_within_one_percent(temperature, dtype):
    student = F.normalize(embeddings(n=32, d=64)).to(dtype).requires_grad_()
    teacher = F.normalize(embeddings(n=32, d=64) + embeddings(n=32, d=64, seed=1)).to(dtype)
    wide = student.detach().double().requires_grad_()
    expected = correlation_distillation(wide, teacher.double(), temperature)
    expected.mean().backward()
    losses = correlation_distillation(student, teacher, temperature)
    # Unscaled, gradients fall below the smallest float16, whatever computes them.
    scale = 2.0**12
    (scale * losses.mean()).backward()
    assert losses.dtype == torch.float32
    assert relative_error(losses.detach(), expected.detach()) < 0.01
    assert student.grad.dtype == dtype
    assert relative_error(student.grad.double() / scale, wide.grad) < 0.01


def test_extreme_similarities_stay_finite():
    student = torch.tensor([[1e4, -1e4], [0.0, 1e4]], requires_grad=True)
    losses = similarity_divergence(student, torch.tensor([[-1e4, 1e4], [1e4, 0.0]]), 0.1)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert student.grad.isfinite().all()


def test_similarity_divergence_over_a_batch_of_matrices():
    student, teacher = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    batched = similarity_divergence(student, teacher, 0.5)
    single = [similarity_divergence(s, t, 0.5) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(batched, torch.stack(single))


def test_similarity_divergence_of_different_shapes():
    with pytest.raises(ValueError, match=r"one shape, got \(3, 3\) .* \(3, 4\)"):
        similarity_divergence(torch.zeros(3, 3), torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 2), ValueError, r"student is empty \(N = 0\)"),
        (torch.zeros(3), torch.zeros(3, 2), ValueError, r"student must have shape \(N, d\)"),
        (torch.zeros(3, 2), torch.zeros(3, 2, 1), ValueError, r"teacher .* got \(3, 2, 1\)"),
        (torch.zeros(3, 2), torch.zeros(3, 2).long(), TypeError, "teacher must be of a floating"),
        ([[1.0]], torch.zeros(1, 1), TypeError, "student must be a torch.Tensor, got list"),
    ],
)
def test_bad_embeddings(student, teacher, error, message):
    with pytest.raises(error, match=message):
        correlation_distillation(student, teacher)


def test_bad_temperature():
    for bad in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature must be positive and finite"):
            correlation_distillation(torch.eye(2), torch.eye(2), bad)
    for bad in ("4", True, None):
        with pytest.raises(TypeError, match="temperature must be a number"):
            correlation_distillation(torch.eye(2), torch.eye(2), bad)


def test_value_and_gradient_are_those_of_the_plain_product():
    torch.manual_seed(0)
    embeddings = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 6, dtype=torch.float64)
    (mine,) = torch.autograd.grad((self_similarity(embeddings) * weights).sum(), embeddings)
    (plain,) = torch.autograd.grad(((embeddings @ embeddings.T) * weights).sum(), embeddings)
    torch.testing.assert_close(self_similarity(embeddings), embeddings @ embeddings.T)
    torch.testing.assert_close(mine, plain)

    assert torch.autograd.gradcheck(self_similarity, embeddings)
