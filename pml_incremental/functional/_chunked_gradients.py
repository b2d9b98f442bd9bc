"""Gradients of :mod:`pml_incremental.functional.chunked_divergence`, which derives them."""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import Any, NoReturn

import torch
from torch import Tensor

from pml_incremental.functional._row_divergence import difference_from_sum
from pml_incremental.functional.chunks import blocks

_Index = tuple[EllipsisType | slice | None, ...]
_ARGUMENTS = (
    "Tensor grad, Tensor divergence, Tensor student_log_sums, Tensor target_log_sums,"
    " Tensor log_sum_ratios, Tensor student, Tensor targets, float temperature, int rows"
)


@torch.library.custom_op(
    "pml_incremental::chunked_divergence_student_gradient",
    mutates_args=(),
    schema=f"({_ARGUMENTS}) -> Tensor",
)
def student_gradient(
    grad: Tensor,
    divergence: Tensor,  # noqa: ARG001
    student_log_sums: Tensor,
    target_log_sums: Tensor,
    log_sum_ratios: Tensor,
    student: Tensor,
    targets: Tensor,
    temperature: float,
    rows: int,
) -> Tensor:
    def entries(student_logits: Tensor, target_logits: Tensor, own: _Index) -> Tensor:
        log_ratio = (student_logits - target_logits).sub_(log_sum_ratios[own])
        p = (student_logits - student_log_sums[own]).exp_()
        q = (target_logits - target_log_sums[own]).exp_()
        difference = difference_from_sum(q.add_(p), log_ratio)
        return difference.mul_(grad[own]).sum(dim=0, keepdim=True)

    return _through_similarities(entries, student, student, targets, temperature, rows)


@torch.library.custom_op(
    "pml_incremental::chunked_divergence_target_gradient",
    mutates_args=(),
    schema=f"({_ARGUMENTS}) -> Tensor",
)
def target_gradient(
    grad: Tensor,
    divergence: Tensor,
    student_log_sums: Tensor,  # noqa: ARG001
    target_log_sums: Tensor,
    log_sum_ratios: Tensor,
    student: Tensor,
    targets: Tensor,
    temperature: float,
    rows: int,
) -> Tensor:
    def entries(student_logits: Tensor, target_logits: Tensor, own: _Index) -> Tensor:
        log_ratio = (student_logits - target_logits).sub_(log_sum_ratios[own])
        q = (target_logits - target_log_sums[own]).exp_()
        return log_ratio.add_(divergence[own]).mul_(q).mul_(-grad[own])

    return _through_similarities(entries, targets, student, targets, temperature, rows)


def _through_similarities(
    entries: Callable[[Tensor, Tensor, _Index], Tensor],
    embeddings: Tensor,
    student: Tensor,
    targets: Tensor,
    temperature: float,
    rows: int,
) -> Tensor:
    """(G + G^T) Z / tau for each of ``embeddings`` Z, shape (K, N, d).

    ``entries`` gives those of G in a panel of similarities over tau. It is told how to index what
    is kept for each row: as the panel's rows, or, for G^T, as its columns.
    """
    gradient = torch.zeros_like(embeddings)
    with torch.autocast(student.device.type, enabled=False):
        for block in blocks(student.shape[1], rows):
            onward, beyond = slice(block.start, None), slice(block.stop, None)
            panel = (
                student[:, block] / temperature @ student[:, onward].mT,
                targets[:, block] / temperature @ targets[:, onward].mT,
            )
            symmetric = entries(*panel, (..., block, None))
            symmetric.add_(entries(*panel, (..., None, onward))).div_(temperature)
            gradient[:, block].baddbmm_(symmetric, embeddings[:, onward])
            right = symmetric[..., block.stop - block.start :]
            gradient[:, beyond].baddbmm_(right.mT, embeddings[:, block])
    return gradient


@student_gradient.register_fake
def _like_student(*inputs: Any) -> Tensor:
    return torch.empty_like(inputs[5])


@target_gradient.register_fake
def _like_targets(*inputs: Any) -> Tensor:
    return torch.empty_like(inputs[6])


def _no_second_derivative(*_: Any) -> NoReturn:
    raise RuntimeError(
        "similarity matrices that are computed in chunks have no second derivative: differentiate "
        "the loss once, or write it with torch's own functions"
    )


student_gradient.register_autograd(_no_second_derivative)
target_gradient.register_autograd(_no_second_derivative)
