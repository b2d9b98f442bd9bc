"""Search through a faiss index, with its recall measured against exact search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pml_incremental.metrics.match_ranks import MatchRanks, match_ranks
from pml_incremental.search.class_members import ClassMembers
from pml_incremental.search.exact import ExactSearch, check_ranges
from pml_incremental.search.faiss_index import build_index, selected_search

SAMPLE = 1000


class IndexSearch:
    """Rankings from one faiss index over all images; galleries are ranges of its ids.

    Args:
        embeddings: shape (N, d); the index holds float32.
        labels: shape (N,), integers of any size.
        factory: faiss's description of the index, such as ``"IVF1024,Flat"`` or ``"HNSW32"``.
        nprobe: lists that an IVF index looks at; None for faiss's default of 1.

    Raises:
        ValueError: if faiss is missing or refuses the factory, or the lengths differ.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> search = IndexSearch(points, torch.tensor([0, 0, 1, 1]), "Flat")
        >>> search.nearest(range(4), range(4), 1).tolist(), search.measured_recall(range(4), 2)
        ([[1], [2], [1], [2]], 1.0)
    """

    def __init__(
        self, embeddings: Tensor, labels: Tensor, factory: str, nprobe: int | None = None
    ) -> None:
        if len(embeddings) != len(labels):
            raise ValueError(f"{len(embeddings)} embeddings have {len(labels)} labels")
        self.embeddings, self.labels, self.factory = embeddings, labels.cpu(), factory
        self.vectors = np.ascontiguousarray(embeddings.detach().cpu().float().numpy())
        self.index: Any = build_index(self.vectors, factory, nprobe)

    def rank_matches(
        self, queries: range, galleries: Sequence[range], depths: Sequence[int | None]
    ) -> list[MatchRanks]:
        """As :meth:`ExactSearch.rank_matches`, as far as the index finds the items.

        Raises:
            ValueError: if a depth is None: an index ranks no whole gallery.
        """
        ranked = []
        for gallery, depth in zip(galleries, depths, strict=True):
            if depth is None:
                raise ValueError(
                    f"index {self.factory!r} ranks no whole gallery: leave out "
                    "mean_average_precision and mean_reciprocal_rank, or search exactly"
                )
            found = self.nearest(queries, gallery, depth)
            asked = self.labels[queries.start : queries.stop, None]
            hits = (self.labels[found.clamp(min=0)] == asked) & (found >= 0)
            matches = ClassMembers(self.labels, gallery).number_of_matches(queries)
            ranked.append(match_ranks(hits, matches, _available(queries, gallery)))
        return ranked

    def most_matches(self, queries: range, gallery: range) -> int:
        """The largest number of same-class items that one of the queries has in a gallery."""
        return int(ClassMembers(self.labels, gallery).number_of_matches(queries).max())

    def nearest(self, queries: range, gallery: range, k: int) -> Tensor:
        """The rows that the index finds nearest, shape (Q, min(k, available)); -1 where none."""
        check_ranges(queries, gallery, len(self.vectors))
        k = min(k, _available(queries, gallery))
        if k == 0:
            return torch.empty(len(queries), 0, dtype=torch.int64)
        asked = self.vectors[queries.start : queries.stop]
        found = selected_search(self.index, asked, k + 1, gallery, len(self.vectors))
        themselves = torch.arange(queries.start, queries.stop)
        return _without(torch.from_numpy(found), themselves)[:, :k]

    def measured_recall(self, gallery: range, k: int, sample: int = SAMPLE) -> float:
        """Share of the k nearest items that the index finds, for queries spread over a gallery."""
        places = np.linspace(0, len(gallery), min(sample, len(gallery)), endpoint=False)
        exact = ExactSearch(self.embeddings, self.labels)
        shares = []
        for row in [gallery[int(place)] for place in places]:
            query = range(row, row + 1)
            truth = set(exact.nearest(query, gallery, k)[0].tolist())
            found = set(self.nearest(query, gallery, k)[0].tolist())
            shares.append(len(truth & found) / max(1, len(truth)))
        return float(np.mean(shares))


def _available(queries: range, gallery: range) -> int:
    return len(gallery) - int(queries.start in gallery)


def _without(found: Tensor, themselves: Tensor) -> Tensor:
    """Each query taken out of what it found, the others moved up."""
    own = found == themselves[:, None]
    order = own.to(torch.int8).argsort(dim=1, stable=True)
    return found.masked_fill(own, -1).gather(1, order)
