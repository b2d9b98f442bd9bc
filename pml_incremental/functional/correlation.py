"""Correlation distillation: keep the similarity structure of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.functional._row_divergence import RowDivergence
from pml_incremental.functional.checks import check_paired, check_temperature, widen
from pml_incremental.functional.chunked_divergence import (
    DEFAULT_MAX_BYTES,
    check_max_bytes,
    chunked_divergence,
    rows_at_a_time,
)
from pml_incremental.functional.self_similarity import self_similarity


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
    divergence: Tensor = RowDivergence.apply(widen(student), widen(teacher), temperature)
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
        divergence: Tensor = RowDivergence.apply(
            self_similarity(student), self_similarity(teacher), temperature
        )
    return divergence
