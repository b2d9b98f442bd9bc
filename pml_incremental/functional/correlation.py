"""Correlation distillation: keep the similarity structure of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from pml_incremental.functional.checks import check_paired, check_temperature, widen
from pml_incremental.functional.chunked_divergence import (
    DEFAULT_MAX_BYTES,
    check_max_bytes,
    chunked_divergence,
    difference_from_sum,
    divergence_of_rows,
    rows_at_a_time,
)


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


def correlation_distillation(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 4.0,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
) -> Tensor:
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
        max_bytes: how much memory the similarities may take, about. What takes more is computed
            some rows at a time, and once more in the backward pass, instead of being kept; at least
            one row at a time. Values and gradients are the same up to rounding. None for no limit.
            The default, 256 MiB, is reached at N = 2897 in float32.

    Returns:
        One loss per anchor, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the lengths differ, N is 0, or temperature or max_bytes is not positive.
        TypeError: if an argument is not a floating-point tensor or max_bytes no integer.

    Example:
        >>> z = torch.eye(4)
        >>> correlation_distillation(z, z).sum().item()
        0.0
    """
    check_paired("student", student, "teacher", teacher)
    check_temperature(temperature)
    check_max_bytes(max_bytes)
    student, teacher = widen(student), widen(teacher)
    rows = rows_at_a_time(len(student), 1, student.dtype, student.device, max_bytes)
    if rows is not None:
        return chunked_divergence(student, teacher.unsqueeze(0), temperature, rows).squeeze(0)
    with torch.autocast(student.device.type, enabled=False):
        divergence: Tensor = _RowDivergence.apply(
            self_similarity(student), self_similarity(teacher), temperature
        )
    return divergence


class _RowDivergence(Function):
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) by row, with closed-form gradient.

    ``p - q`` is the gradient with respect to the student's logits, too.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_p = torch.log_softmax(student / temperature, dim=-1)
        log_q = torch.log_softmax(teacher / temperature, dim=-1)
        q = log_q.exp()
        log_ratio = log_p - log_q
        difference = difference_from_sum(log_p.exp_().add_(q), log_ratio)
        divergence = divergence_of_rows(difference, q, log_ratio)
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


class _SelfSimilarity(Function):
    """The matrix is symmetric in its two roles, so one product gives the whole gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, embeddings: Tensor) -> Tensor:
        ctx.save_for_backward(embeddings)
        return embeddings @ embeddings.T

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (embeddings,) = ctx.saved_tensors  # type: ignore[attr-defined]
        to_embeddings: Tensor = (grad + grad.T) @ embeddings
        return to_embeddings


def self_similarity(embeddings: Tensor) -> Tensor:
    r"""Dot products of all pairs in a batch, with a gradient that takes one product, not two.

    .. math:: S = Z Z^\top, \qquad \partial L / \partial Z = (G + G^\top) Z, \quad
        G = \partial L / \partial S
    """
    similarities: Tensor = _SelfSimilarity.apply(embeddings)
    return similarities
