"""Similarities of a batch with itself, by the default distance or by any other."""

from __future__ import annotations

from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.distances.base_distance import BaseDistance
from torch import Tensor

from pml_incremental.functional.self_similarity import self_similarity


class BatchSimilarity(DotProductSimilarity):
    """PML's ``DotProductSimilarity``, with half the backward work for a batch with itself.

    Args:
        **kwargs: as PML's distance takes them.
    """

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """Dot products of all pairs, shape (N, M)."""
        if query_emb is ref_emb and query_emb.requires_grad:
            return self_similarity(query_emb)
        similarities: Tensor = super().compute_mat(query_emb, ref_emb)
        return similarities


def similarities_to(distance: BaseDistance, rows: Tensor, embeddings: Tensor) -> Tensor:
    """Similarities of some rows to a batch, shape (M, N); larger means nearer.

    As ``distance`` itself gives, except that embeddings are taken as they are and no statistics
    are collected, which could not be batched.
    """
    matrix: Tensor = distance.compute_mat(rows, embeddings)
    if distance.power != 1:
        matrix = matrix**distance.power
    return matrix if distance.is_inverted else -matrix
