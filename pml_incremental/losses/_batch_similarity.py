"""Similarities within a batch by any distance, and their divergences some rows at a time."""

from __future__ import annotations

import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.distances.base_distance import BaseDistance
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pml_incremental.functional import similarity_divergence
from pml_incremental.functional.chunked_divergence import blocks, chunked_divergence
from pml_incremental.functional.correlation import self_similarity


class BatchSimilarity(DotProductSimilarity):
    """PML's ``DotProductSimilarity``, with half the backward work for a batch with itself."""

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


_DOT_PRODUCTS = (DotProductSimilarity.compute_mat, BatchSimilarity.compute_mat)


def chunked_similarity_divergence(
    distance: BaseDistance, student: Tensor, targets: Tensor, temperature: float, rows: int
) -> Tensor:
    """tau^2 KL between the similarities of K target models and those of a student, row by row.

    Nothing of a block of rows is kept for the backward pass but the embeddings.
    """
    if type(distance).forward is not BaseDistance.forward:
        raise ValueError(
            f"{type(distance).__name__} has a forward of its own, so rows of its matrix cannot be "
            "computed one by one with compute_mat: pass max_bytes=None to compute it whole"
        )
    if type(distance).compute_mat in _DOT_PRODUCTS and distance.power == 1:
        return chunked_divergence(student, targets, temperature, rows)
    divergences = [
        checkpoint(
            _divergence_of_rows,
            distance,
            student,
            targets,
            temperature,
            block,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for block in blocks(len(student), rows)
    ]
    return torch.cat(divergences, dim=1)


def _divergence_of_rows(
    distance: BaseDistance, student: Tensor, targets: Tensor, temperature: float, block: slice
) -> Tensor:
    def similarities(embeddings: Tensor) -> Tensor:
        return similarities_to(distance, embeddings[block], embeddings)

    target = torch.vmap(similarities)(targets)
    return similarity_divergence(similarities(student).expand_as(target), target, temperature)
