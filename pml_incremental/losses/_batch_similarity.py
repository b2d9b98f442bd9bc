"""The default distance of losses that compare a batch with itself."""

from __future__ import annotations

from pytorch_metric_learning.distances import DotProductSimilarity
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
