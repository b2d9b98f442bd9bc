"""Exact search of one set of embeddings in itself, in several galleries at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pml_incremental.metrics.match_ranks import MatchRanks, concatenate, match_ranks, trim
from pml_incremental.search.class_members import ClassMembers
from pml_incremental.search.nearest import nearest_items
from pml_incremental.search.points import Points
from pml_incremental.search.whole_ranking import places_in_whole_ranking

GIBIBYTE = 2**30
# Scores, a sorted copy and masks.
COPIES_OF_SCORES = 3


class ExactSearch:
    """Rankings of images by Euclidean distance, the query itself left out.

    Distances are compared as float64 arithmetic has them, and of equally far items the first in
    the set comes first: matrix products only choose and sort what they can surely tell apart. So
    the rankings are those of plain loops in float64, whatever the chunks, threads or device.

    Args:
        embeddings: shape (N, d); the search runs on their device.
        labels: shape (N,), integers of any size.
        memory: bytes for one chunk of scores, about the peak above the embeddings and one copy.

    Raises:
        ValueError: if shapes do not fit, an embedding is not finite, or memory is not positive.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> search = ExactSearch(points, torch.tensor([0, 0, 1, 1]))
        >>> found, = search.rank_matches(range(4), [range(4)], depths=[2])
        >>> found.ranks.tolist()  # the largest number stands for "not among them"
        [[1], [2], [4611686018427387904], [1]]
    """

    def __init__(self, embeddings: Tensor, labels: Tensor, memory: int = GIBIBYTE // 2) -> None:
        if len(embeddings) != len(labels):
            raise ValueError(f"{len(embeddings)} embeddings have {len(labels)} labels")
        if memory <= 0:
            raise ValueError(f"memory must be a positive number of bytes, got {memory}")
        self.embeddings, self.memory = embeddings, memory
        self.labels = labels.to(embeddings.device)
        self._points: dict[torch.dtype, Points] = {}

    def rank_matches(
        self, queries: range, galleries: Sequence[range], depths: Sequence[int | None]
    ) -> list[MatchRanks]:
        """Where the same-class items of each query stand, in each of several galleries.

        The distances are computed once, over the span of all galleries.

        Args:
            queries: rows that ask.
            galleries: rows that are searched; each holds all of the queries or none of them.
            depths: places to look at in each gallery; None for all of it.

        Returns:
            One :class:`~pml_incremental.metrics.MatchRanks` per gallery.

        Raises:
            ValueError: if a range is empty or beyond the embeddings, or a gallery holds some of the
                queries only.
        """
        for gallery in galleries:
            check_ranges(queries, gallery, len(self.embeddings))
        members = [ClassMembers(self.labels, gallery) for gallery in galleries]
        dtype = torch.float64 if None in depths else torch.float32
        points = self._prepared(dtype)
        span = range(min(g.start for g in galleries), max(g.stop for g in galleries))
        parts: list[list[MatchRanks]] = [[] for _ in galleries]
        for chunk in self._chunks(queries, len(span), dtype):
            scores = points.scores(chunk, span)
            for part, member, depth in zip(parts, members, depths, strict=True):
                part.append(_read_off(points, chunk, span, scores, member, depth))
        return [concatenate(part) for part in parts]

    def most_matches(self, queries: range, gallery: range) -> int:
        """The largest number of same-class items that one of the queries has in a gallery."""
        return int(ClassMembers(self.labels, gallery).number_of_matches(queries).max())

    def nearest(self, queries: range, gallery: range, k: int) -> Tensor:
        """The k nearest rows of each query, or all there are, shape (Q, min(k, available))."""
        check_ranges(queries, gallery, len(self.embeddings))
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        points = self._prepared(torch.float32)
        k = min(k, len(gallery) - int(queries.start in gallery))
        if k == 0:
            return torch.empty(len(queries), 0, dtype=torch.int64, device=points.device)
        return torch.cat(
            [
                nearest_items(points, chunk, gallery, points.scores(chunk, gallery), k)
                for chunk in self._chunks(queries, len(gallery), torch.float32)
            ]
        )

    def _prepared(self, dtype: torch.dtype) -> Points:
        if dtype not in self._points:
            self._points = {dtype: Points(self.embeddings, dtype)}
        return self._points[dtype]

    def _chunks(self, queries: range, width: int, dtype: torch.dtype) -> list[range]:
        row = COPIES_OF_SCORES * width * dtype.itemsize
        step = max(1, self.memory // row)
        return [queries[start : start + step] for start in range(0, len(queries), step)]


def _read_off(
    points: Points,
    chunk: range,
    span: range,
    scores: Tensor,
    members: ClassMembers,
    depth: int | None,
) -> MatchRanks:
    gallery = members.gallery
    inside = scores[:, gallery.start - span.start : gallery.stop - span.start]
    size = len(gallery) - int(chunk.start in gallery)
    matches = members.number_of_matches(chunk)
    if depth is None:
        places = places_in_whole_ranking(points, chunk, gallery, inside, members.matches(chunk))
        return MatchRanks(trim(places), matches, size, size)
    depth = min(depth, size)
    if depth == 0:
        return MatchRanks(matches.new_empty(len(chunk), 0), matches, size, 0)
    found = nearest_items(points, chunk, gallery, inside, depth, members.labels)
    asked = members.labels[chunk.start : chunk.stop]
    return match_ranks(members.labels[found] == asked[:, None], matches, size)


def check_ranges(queries: range, gallery: range, size: int) -> None:
    """Raise unless both are rows there are, and the gallery holds all of the queries or none."""
    for name, rows in (("queries", queries), ("gallery", gallery)):
        if not (rows.step == 1 and 0 <= rows.start < rows.stop <= size):
            raise ValueError(f"{name} must be rows within 0 to {size}, at least one, got {rows}")
    if (queries.start in gallery) != (queries[-1] in gallery):
        raise ValueError(f"the gallery {gallery} must hold all of the queries {queries} or none")
