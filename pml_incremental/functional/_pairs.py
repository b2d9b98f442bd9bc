"""A student's and a teacher's embeddings of the same images, checked and wide enough to compute."""

from __future__ import annotations

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
