"""tau^2 KL between the softmaxes of two matrices, row by row, free of cancellation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable


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


class RowDivergence(Function):
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
