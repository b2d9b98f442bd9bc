"""The open-set view of a gallery: queries whose classes the gallery does not hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pml_incremental.metrics import (
    hit_at_k,
    lone_queries,
    match_ranks,
    open_set_auroc,
    open_set_fpr,
)
from pml_incremental.search import ExactSearch

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class OpenSet:
    """How well distances to the gallery tell known classes from unknown ones."""

    auroc: float  # see :func:`pml_incremental.metrics.open_set_auroc`
    fpr_at_95_tpr: float  # see :func:`pml_incremental.metrics.open_set_fpr`
    known: int  # number of queries with a same-class item in the gallery
    unknown: int  # number of queries without one


def open_set(
    embeddings: Mapping[str, Tensor], labels: Mapping[str, Tensor], seen: Collection[str]
) -> OpenSet:
    """Ask the gallery of the seen splits with all queries, those of unseen splits too.

    A query is known if the gallery holds another image of its class; no query finds itself.
    """
    inside = [split for split in embeddings if split in seen]
    outside = [split for split in embeddings if split not in seen]
    if not inside:
        raise ValueError(f"none of {list(embeddings)} is seen: the gallery is empty")
    x = torch.cat([embeddings[split] for split in (*inside, *outside)])
    y = torch.cat([labels[split] for split in (*inside, *outside)])
    size = sum(len(labels[split]) for split in inside)
    gallery, others = range(size), range(size, len(y))
    search = ExactSearch(x, y)
    asked = [queries for queries in (gallery, others) if len(queries)]
    nearest = torch.cat([search.nearest(queries, gallery, 1) for queries in asked])[:, 0]
    distances = (x.double() - x[nearest].double()).norm(dim=1)
    unknown = torch.cat(
        [
            lone_queries(y[:size], y[:size], self_in_gallery=True),
            lone_queries(y[size:], y[:size], self_in_gallery=False),
        ]
    )
    known_distances, unknown_distances = distances[~unknown].numpy(), distances[unknown].numpy()
    return OpenSet(
        open_set_auroc(known_distances, unknown_distances),
        open_set_fpr(known_distances, unknown_distances),
        len(known_distances),
        len(unknown_distances),
    )


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
