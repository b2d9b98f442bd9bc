r"""Divergences between similarity matrices that never exist as a whole.

With :math:`S = Z Z^\top` of a student, the same of a target, p and q the softmaxes of their rows
over tau, and upstream gradients :math:`g_i` of :math:`KL(q_i \| p_i)`:

.. math:: \partial L / \partial Z = (G + G^\top) Z, \qquad G_{ij} = g_i (p_{ij} - q_{ij}) / \tau

and for the target :math:`G_{ij} = -g_i q_{ij} (\log p_{ij} - \log q_{ij} + KL(q_i \| p_i)) / \tau`.

The forward pass takes a block of rows at a time and keeps a few numbers for each row: the
logarithms of what the softmaxes divide by, and the difference of the two, which in float32 is more
than the two can tell. With those, any entry of G follows from the entries of the two similarity
matrices at the same place. These are symmetric, so the backward pass computes them on and above the
diagonal only, each entry giving :math:`G_{ij}` and :math:`G_{ji}`. In matrix products of N x N with
d that makes 2 forward and 2 backward; keeping the matrices takes 2 and 1.

The operators are opaque to ``torch.compile``. It would write out the loops of an
``autograd.Function``, thousands of operations at N = 16384, and decide itself what to recompute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import EllipsisType
from typing import Any, NoReturn

import torch
from torch import Tensor

DEFAULT_MAX_BYTES = 2**28

# As many matrices exist at the peak of a forward and backward pass that keeps what it computes.
_MATRICES_AT_PEAK = 8
# More rows fall out of a CPU's caches; fewer make its matrix products slow.
_ROWS_IN_CACHE = 128

_Index = tuple[EllipsisType | slice | None, ...]
_ARGUMENTS = (
    "Tensor grad, Tensor divergence, Tensor student_log_sums, Tensor target_log_sums,"
    " Tensor log_sum_ratios, Tensor student, Tensor targets, float temperature, int rows"
)


def chunked_divergence(student: Tensor, targets: Tensor, temperature: float, rows: int) -> Tensor:
    """tau^2 KL between the similarities of K target models and those of a student, row by row."""
    wide = torch.promote_types(student.dtype, targets.dtype)
    divergence, *_ = _divergence(student.to(wide).unsqueeze(0), targets.to(wide), temperature, rows)
    scaled: Tensor = divergence * temperature**2
    return scaled


@torch.library.custom_op(
    "pml_incremental::chunked_divergence",
    mutates_args=(),
    schema="(Tensor student, Tensor targets, float temperature, int rows)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _divergence(
    student: Tensor, targets: Tensor, temperature: float, rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    outputs: tuple[Tensor, Tensor, Tensor, Tensor] = _outputs(student, targets)
    divergence, student_log_sums, target_log_sums, log_sum_ratios = outputs
    with torch.autocast(student.device.type, enabled=False):
        for block in blocks(student.shape[1], rows):
            # One kind of product for both: equal embeddings have equal similarities, to the bit.
            student_logits = student[:, block] / temperature @ student.mT
            target_logits = targets[:, block] / temperature @ targets.mT
            log_p = torch.log_softmax(student_logits, dim=-1)
            log_q = torch.log_softmax(target_logits, dim=-1)
            largest, rest = student_logits.amax(dim=-1), -log_p.amax(dim=-1)
            target_largest, target_rest = target_logits.amax(dim=-1), -log_q.amax(dim=-1)
            del student_logits, target_logits
            student_log_sums[:, block] = largest + rest
            target_log_sums[:, block] = target_largest + target_rest
            log_sum_ratios[:, block] = (largest - target_largest) + (rest - target_rest)
            log_ratio = log_p - log_q
            q = log_q.exp_()
            difference = difference_from_sum(log_p.exp_() + q, log_ratio)
            divergence[:, block] = divergence_of_rows(difference, q, log_ratio)
    return outputs


@_divergence.register_fake
def _outputs(student: Tensor, targets: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_student, of_target = student.shape[:2], targets.shape[:2]
    shapes = (of_target, of_student, of_target, of_target)
    divergence, student_log_sums, target_log_sums, log_sum_ratios = map(targets.new_empty, shapes)
    return divergence, student_log_sums, target_log_sums, log_sum_ratios


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    student, targets, ctx.temperature, ctx.rows = inputs
    ctx.save_for_backward(*output, student, targets)


def _backward(
    ctx: Any, grad: Tensor, *_: Tensor
) -> tuple[Tensor | None, Tensor | None, None, None]:
    for_student, for_targets, *_ = ctx.needs_input_grad
    arguments = (grad, *ctx.saved_tensors, ctx.temperature, ctx.rows)
    return (
        student_gradient(*arguments) if for_student else None,
        target_gradient(*arguments) if for_targets else None,
        None,
        None,
    )


_divergence.register_autograd(_backward, setup_context=_keep)


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
    """Gradient with respect to the student's embeddings, shape (N, d)."""

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
    """Gradient with respect to the targets, shape (K, N, d')."""

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


def check_max_bytes(max_bytes: int | None) -> None:
    """Raise unless ``max_bytes`` is a positive integer or None."""
    if max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer or None, got {max_bytes!r}")
    if max_bytes < 1:
        raise ValueError(
            f"max_bytes must be at least 1, got {max_bytes}: give the bytes that similarity "
            "matrices may take, or None for no limit"
        )


def rows_at_a_time(
    count: int, models: int, dtype: torch.dtype, device: torch.device, max_bytes: int | None
) -> int | None:
    """Rows of ``models`` similarity matrices of ``count`` images that fit; None if all do.

    At least one, whatever ``max_bytes`` says.
    """
    bytes_per_row = _MATRICES_AT_PEAK * models * count * dtype.itemsize
    if max_bytes is None or count * bytes_per_row <= max_bytes:
        return None
    rows = max(max_bytes // bytes_per_row, 1)
    return min(rows, _ROWS_IN_CACHE) if device.type == "cpu" else rows


def blocks(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many rows each, or fewer in the last."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def difference_from_sum(p_plus_q: Tensor, log_ratio: Tensor) -> Tensor:
    """``p - q``, written over ``p + q``; ``log_ratio`` is ``log p - log q``."""
    return p_plus_q.mul_(torch.tanh(log_ratio / 2))


def divergence_of_rows(difference: Tensor, q: Tensor, log_ratio: Tensor) -> Tensor:
    """KL(q || p) of each row, from ``p - q``, ``q`` and ``log p - log q``.

    The obvious ``sum(q * (log q - log p))`` loses most digits in float32 when the two
    distributions are close, as a student's are to its teacher's. Adding ``p - q``, which sums to
    zero, makes every term at least 0 and free of cancellation, provided that ``p - q`` itself is
    taken from ``r = log p - log q``, as ``(p + q) * tanh(r / 2)``.
    """
    divergence: Tensor = torch.addcmul(difference, q, log_ratio, value=-1).sum(dim=-1)
    return divergence
