"""Similarities of a batch with itself."""

from __future__ import annotations

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable


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
