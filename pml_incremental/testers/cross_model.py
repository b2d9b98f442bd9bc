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
    """Whether each image, embedded by one model, finds its class among others by another model.

    Args:
        queries: embeddings of N images by the one model, shape (N, d).
        gallery: embeddings of the same images in the same order by the other, shape (N, d).
        labels: shape (N,).
        k: how many items may be looked at. No image finds itself.

    Returns:
        0 or 1, NaN for an image alone in its class, shape (N,), float64.

    Raises:
        ValueError: if the shapes differ or a value is not finite.

    Example:
        >>> old = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
        >>> cross_model_hits(old + 0.5, old, torch.tensor([0, 0, 1, 1])).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
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
    """Recall@K of every model in the galleries of all earlier ones, without and with re-indexing.

    Args:
        embeddings: of all images by each of T models, shape (N, d) each.
        labels: shape (N,), images in order of the tasks.
        sizes: how many of the first images each model's gallery holds, T numbers.
        k: the K of Recall@K.

    Returns:
        c and r of :func:`pml_incremental.metrics.summarise_cross_model`, each (T, T), NaN above
        the diagonal.

    Raises:
        ValueError: if the numbers of models and sizes differ, or embeddings have several widths.
    """
    if len(embeddings) != len(sizes):
        raise ValueError(f"{len(embeddings)} models have {len(sizes)} gallery sizes: give one each")
    cross, reindexed = (np.full((len(sizes), len(sizes)), np.nan) for _ in range(2))
    for j, size in enumerate(sizes):
        for i in range(j, len(sizes)):
            new, old = embeddings[i][:size], embeddings[j][:size]
            reindexed[i, j] = float(cross_model_hits(new, new, labels[:size], k).nanmean())
            cross[i, j] = float(cross_model_hits(new, old, labels[:size], k).nanmean())
    return cross, reindexed
