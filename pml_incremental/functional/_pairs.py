"""A student's and a teacher's embeddings of the same images, checked and wide enough to compute."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.functional.checks import check_paired
from pml_incremental.functional.precision import widen


def paired(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or wider, or an error if row i of one cannot be paired with row i."""
    check_paired("student", student, "teacher", teacher)
    return widen(student), widen(teacher)


def paired_same_width(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`paired`, for what compares the embeddings themselves: d must equal d_T."""
    student, teacher = paired(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"the student's embeddings have width {student.shape[1]} but the teacher's have "
            f"{teacher.shape[1]}: give both models the same embedding size, or distil relations "
            "between images instead, such as correlation_distillation"
        )
    return student, teacher


def pairwise_distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances of all rows, shape (N, M); the gradient is 0 where the distance is 0."""
    # The matrix-product form loses the small distances, and with them the zero at equality.
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, scaled to length 1; a zero vector stays 0, without gradient."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    has_direction = length > torch.finfo(length.dtype).tiny
    # Dividing by the clamped length instead would give zero vectors gradients of 1e12.
    scale = torch.where(has_direction, 1 / torch.where(has_direction, length, 1), 0)
    return vectors * scale
