"""Correlation distillation: keep the similarity structure of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from pml_incremental.functional._checks import check_paired, check_temperature
from pml_incremental.functional.precision import widen
from pml_incremental.functional.self_similarity import self_similarity


class _RowDivergence(Function):
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) by row, with closed-form gradient.

    The obvious ``sum(q * (log q - log p))`` loses most digits in float32 when the two
    distributions are close, as a student's are to its teacher's. Adding ``p - q``, which sums to
    zero, makes every term at least 0 and free of cancellation, provided that ``p - q`` itself is
    taken from ``r = log p - log q``, as ``(p + q) * tanh(r / 2)``. It is also the gradient with
    respect to the student's logits.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_p = torch.log_softmax(student / temperature, dim=-1)
        log_q = torch.log_softmax(teacher / temperature, dim=-1)
        q = log_q.exp()
        log_ratio = log_p - log_q
        difference = log_p.exp_().add_(q).mul_(torch.tanh(log_ratio / 2))
        divergence = torch.addcmul(difference, q, log_ratio, value=-1).sum(dim=-1)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            ctx.save_for_backward(difference, q, log_ratio, divergence)
        else:
            ctx.save_for_backward(difference)
        return divergence * temperature**2

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        difference, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
        scale = (grad * ctx.temperature).unsqueeze(-1)  # type: ignore[attr-defined]
        to_student = scale * difference if ctx.needs_input_grad[0] else None  # type: ignore[attr-defined]
        if not rest:
            return to_student, None, None
        q, log_ratio, divergence = rest
        return to_student, -scale * q * (log_ratio + divergence.unsqueeze(-1)), None


def similarity_divergence(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    r"""Divergence between two similarity matrices of the same images, row by row.

    .. math:: l_i = \tau^2 \, KL(softmax(S^T / \tau)_i \,\|\, softmax(S^Z / \tau)_i)

    The building block of :func:`correlation_distillation` for any similarity: larger entries mean
    nearer pairs. Gradients flow into both arguments; detach the one that is fixed.

    Args:
        student: similarities S^Z, shape (..., N, M).
        teacher: similarities S^T, the target distribution, shape (..., N, M).
        temperature: tau > 0.

    Returns:
        One value per row, shape (..., N), float32 or wider, at least 0.

    Raises:
        ValueError: if the shapes differ or temperature is not positive.

    Example:
        >>> similarity_divergence(torch.eye(3), torch.eye(3)).tolist()
        [0.0, 0.0, 0.0]
    """
    check_temperature(temperature)
    if student.shape != teacher.shape:
        raise ValueError(
            f"the similarity matrices must have one shape, got {tuple(student.shape)} for the "
            f"student and {tuple(teacher.shape)} for the teacher"
        )
    divergence: Tensor = _RowDivergence.apply(widen(student), widen(teacher), temperature)
    return divergence


def correlation_distillation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    r"""Distance between the similarity structure of two sets of embeddings of the same images.

    .. math:: l_i = \tau^2 \, KL(softmax(T T^\top / \tau)_i \,\|\, softmax(Z Z^\top / \tau)_i)

    Embeddings are taken as they are: normalise them first for cosine similarities. The
    similarities and the divergence are computed in float32 or wider, also under autocast.
    Gradients flow into both arguments, so detach the teacher's embeddings.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (correlation distillation).

    Args:
        student: embeddings Z of the model being trained, shape (N, d).
        teacher: embeddings T of the frozen model for the same images in the same order, shape
            (N, d_T).
        temperature: tau > 0; larger values weigh all pairs more equally.

    Returns:
        One loss per anchor, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the lengths differ, N is 0 or temperature is not positive.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> z = torch.eye(4)
        >>> correlation_distillation(z, z).sum().item()
        0.0
    """
    check_paired("student", student, "teacher", teacher)
    check_temperature(temperature)
    student, teacher = widen(student), widen(teacher)
    with torch.autocast(student.device.type, enabled=False):
        divergence: Tensor = _RowDivergence.apply(
            self_similarity(student), self_similarity(teacher), temperature
        )
    return divergence
