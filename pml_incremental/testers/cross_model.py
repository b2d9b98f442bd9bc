"""Queries by one model in the gallery of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pml_incremental.metrics import hit_at_k, lone_queries, match_ranks
from pml_incremental.search import ExactSearch

Matrix = NDArray[np.float64]


def cross_model_hits(queries: Tensor, gallery: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Whether each image, embedded by one model, finds its class among others by another model."""
    if queries.shape != gallery.shape:
        raise ValueError(
            f"the queries have shape {tuple(queries.shape)} but the gallery {tuple(gallery.shape)}:"
            " models can search each other's galleries only if their embeddings have one width"
        )
    size = len(queries)
    search = ExactSearch([queries, gallery], labels.repeat(2))
    # Each image may find its own other embedding, so one more is searched and that one left out.
    found = search.nearest(range(size), range(size, 2 * size), k + 1) - size
    own = found == torch.arange(size, device=found.device)[:, None]
    last = ~own.any(dim=1, keepdim=True) & (
        torch.arange(found.shape[1], device=found.device) == found.shape[1] - 1
    )
    hits = (search.labels[found] == search.labels[:size, None])[~(own | last)].view(size, -1)
    matches = torch.unique(search.labels[:size], return_inverse=True, return_counts=True)
    ranks = match_ranks(hits, matches[2][matches[1]] - 1, size - 1)
    alone = lone_queries(search.labels[:size], search.labels[:size], self_in_gallery=True)
    return torch.where(alone, torch.nan, hit_at_k(ranks, min(k, max(1, size - 1))))


def cross_model_matrices(
    embeddings: Sequence[Tensor], labels: Tensor, sizes: Sequence[int], k: int = 1
) -> tuple[Matrix, Matrix]:
    """Recall@K of every model in the galleries of all earlier ones, then with re-indexing."""
    if len(embeddings) != len(sizes):
        raise ValueError(f"{len(embeddings)} models have {len(sizes)} gallery sizes: give one each")
    cross, reindexed = (np.full((len(sizes), len(sizes)), np.nan) for _ in range(2))
    for j, size in enumerate(sizes):
        for i in range(j, len(sizes)):
            new, old = embeddings[i][:size], embeddings[j][:size]
            reindexed[i, j] = float(cross_model_hits(new, new, labels[:size], k).nanmean())
            cross[i, j] = float(cross_model_hits(new, old, labels[:size], k).nanmean())
    return cross, reindexed
