"""What to look up, and the best scores of all queries, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_incremental.search.centred_embeddings import CentredEmbeddings

# Scores, maxima and what is selected of them.
COPIES_OF_SCORES = 3
SMALLEST_SIDE, LARGEST_SIDE = 64, 2048
BYTES_OF_CANDIDATE = 12

# The maximum of a group of items says whether to look into it.
GROUP = 16
# Beyond this share of groups to look into, selecting from all items is cheaper.
FEW = 1 / 4


class BestScores:
    """The k largest scores of each query so far, and the items that have them."""

    def __init__(self, queries: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        self.scores = torch.full((queries, k), -torch.inf, dtype=dtype, device=device)
        self.items = torch.zeros(queries, k, dtype=torch.int64, device=device)
        self.offered = 0

    def offer(self, scores: Tensor, first: int) -> None:
        """Take the scores of further items into account."""
        whole = scores.shape[1] - scores.shape[1] % GROUP
        if whole and not self._offer_groups(scores[:, :whole], first):
            whole = 0
        self.offered += scores.shape[1]
        rest = scores[:, whole:]
        if rest.shape[1]:
            size = min(self.scores.shape[1], rest.shape[1])
            values, columns = rest.contiguous().topk(size, dim=1)
            self._merge(slice(None), values, columns + first + whole)

    def _offer_groups(self, scores: Tensor, first: int) -> bool:
        """Look only into the groups that hold one of the best, if these are few."""
        maxima = group_maxima(scores)
        least = self._least(maxima)
        query, group = torch.nonzero(maxima > least, as_tuple=True)
        if len(query) > FEW * maxima.numel():
            return False
        members = maxima.shape[1] * torch.arange(GROUP, device=scores.device)
        columns = group[:, None] + members
        values = scores[query[:, None], columns]
        kept = values > least[query]
        query = query[:, None].expand_as(kept)[kept]
        if len(query):
            asking, place, counts = torch.unique_consecutive(
                query, return_inverse=True, return_counts=True
            )
            number = torch.arange(len(query), device=query.device)
            number -= (counts.cumsum(0) - counts)[place]
            shape = len(asking), int(counts.max())
            padded = torch.full(shape, -torch.inf, dtype=scores.dtype, device=scores.device)
            padded[place, number] = values[kept]
            items = torch.zeros(shape, dtype=torch.int64, device=scores.device)
            items[place, number] = columns[kept] + first
            self._merge(asking, padded, items)
        return True

    def _least(self, maxima: Tensor) -> Tensor:
        """What a score must exceed to be one of the k best, as far as is known, shape (B, 1)."""
        k = self.scores.shape[1]
        if self.offered <= k and maxima.shape[1] >= k:  # one of those offered may be the query
            best = maxima.topk(k, dim=1).values[:, -1:]
            return torch.nextafter(best, best.new_tensor(-torch.inf))
        return self.scores[:, -1:]

    def _merge(self, queries: Tensor | slice, scores: Tensor, items: Tensor) -> None:
        both = torch.cat([self.scores[queries], scores], dim=1)
        top, places = both.topk(self.scores.shape[1], dim=1)
        self.scores[queries] = top
        self.items[queries] = torch.cat([self.items[queries], items], dim=1).gather(1, places)


def group_maxima(scores: Tensor) -> Tensor:
    """The largest score of each group; item i of G groups is in group i modulo G."""
    groups = scores.shape[1] // GROUP
    if scores.stride(0) == 1:  # reduced the other way round, this would take many times as long
        turned: Tensor = scores.T.unflatten(0, (GROUP, groups))
        return turned.amax(dim=0).T
    grouped: Tensor = scores.unflatten(1, (GROUP, groups))
    return grouped.amax(dim=1)


def scan(
    points: CentredEmbeddings, lookups: Mapping[int, Lookup], wanted: Mapping[int, int], memory: int
) -> Iterator[tuple[int, range, BestScores]]:
    """The best scores of the queries of some lookups, block by block of queries.

    A score is the same both ways, so one tile of the table serves the queries on both its sides:
    half of the table is enough, as long as the best scores of all queries can be held at once.
    """
    held = sum(len(lookup.queries) * wanted[n] for n, lookup in lookups.items())
    mirrored = held * BYTES_OF_CANDIDATE <= memory // 2
    every = hull([rows for x in lookups.values() for rows in (x.queries, x.gallery)])
    side = side_of_tile(points, memory)
    blocks = [every[start : start + side] for start in range(0, len(every), side)]
    best: dict[tuple[int, int], BestScores] = {}

    def best_of(lookup: int, block: int, queries: int) -> BestScores:
        if (lookup, block) not in best:
            made = BestScores(queries, wanted[lookup], points.dtype, points.device)
            best[lookup, block] = made
        return best[lookup, block]

    for i, above in enumerate(blocks):
        for j in range(i if mirrored else 0, len(blocks)):
            uses = _uses(lookups, above, blocks[j])
            turned = _uses(lookups, blocks[j], above) if mirrored and j > i else []
            if not uses and not turned:
                continue
            rows = hull([q for _, q, _ in uses] + [g for _, _, g in turned])
            columns = hull([g for _, _, g in uses] + [q for _, q, _ in turned])
            tile = points.scores(rows, columns)
            for n, queries, gallery in uses:
                part = tile[_within(queries, rows), _within(gallery, columns)]
                best_of(n, i, len(queries)).offer(part, gallery.start)
            for n, queries, gallery in turned:
                part = tile[_within(gallery, rows), _within(queries, columns)].T
                best_of(n, j, len(queries)).offer(part, gallery.start)
        for n, lookup in lookups.items():
            if (n, i) in best:
                yield n, overlap(lookup.queries, above), best.pop((n, i))


def side_of_tile(points: CentredEmbeddings, memory: int) -> int:
    """Rows of a square tile that fits, a multiple of 64 up to 2048."""
    fitting = math.isqrt(memory // (COPIES_OF_SCORES * points.dtype.itemsize))
    side = min(LARGEST_SIDE, points.rows_at_once, fitting)
    return max(SMALLEST_SIDE, side // SMALLEST_SIDE * SMALLEST_SIDE)


def _uses(
    lookups: Mapping[int, Lookup], rows: range, columns: range
) -> list[tuple[int, range, range]]:
    """The lookups with queries in some rows and items in some columns, and which those are."""
    parts = [
        (n, overlap(lookup.queries, rows), overlap(lookup.gallery, columns))
        for n, lookup in lookups.items()
    ]
    return [part for part in parts if len(part[1]) and len(part[2])]


def _within(rows: range, outer: range) -> slice:
    return slice(rows.start - outer.start, rows.stop - outer.start)


@dataclass(frozen=True)
class Lookup:
    """Some rows of a set of embeddings ask, some are searched.

    Attributes:
        queries: rows that ask.
        gallery: rows that are searched; all of the queries or none of them.
        depth: places to look at for each query; None for all of the gallery.
    """

    queries: range
    gallery: range
    depth: int | None

    @property
    def available(self) -> int:
        """Items that each query can find: no query finds itself."""
        return len(self.gallery) - int(self.queries.start in self.gallery)

    def check(self, size: int) -> None:
        """Raise a ValueError unless this can be looked up among ``size`` rows."""
        for name, rows in (("queries", self.queries), ("gallery", self.gallery)):
            if not (rows.step == 1 and 0 <= rows.start < rows.stop <= size):
                raise ValueError(
                    f"{name} must be rows within 0 to {size}, at least one, got {rows}"
                )
        if (self.queries.start in self.gallery) != (self.queries[-1] in self.gallery):
            raise ValueError(
                f"the gallery {self.gallery} must hold all of the queries {self.queries} or none"
            )


def overlap(rows: range, others: range) -> range:
    """The rows in both ranges; empty if there are none."""
    return range(max(rows.start, others.start), min(rows.stop, others.stop))


def hull(ranges: list[range]) -> range:
    """The smallest range with all rows of some ranges."""
    return range(min(r.start for r in ranges), max(r.stop for r in ranges))


class ClassMembers:
    """The items of each class in a range of rows."""

    def __init__(self, labels: Tensor, gallery: range) -> None:
        self.labels, self.gallery = labels, gallery
        inside = labels[gallery.start : gallery.stop]
        self.rows = inside.argsort(stable=True) + gallery.start
        self.classes, self.counts = torch.unique(inside, return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def number_of_matches(self, queries: range) -> Tensor:
        """Same-class items of each query, itself left out, shape (Q,)."""
        counts, _ = self._lookup(queries)
        return counts - int(queries.start in self.gallery)

    def matches(self, queries: range) -> Tensor:
        """Rows of the same-class items, itself left out, shape (Q, M), -1 where there are fewer."""
        counts, starts = self._lookup(queries)
        offsets = torch.arange(int(counts.max()), device=self.labels.device)
        places = (starts[:, None] + offsets).clamp(max=len(self.rows) - 1)
        found = torch.where(offsets < counts[:, None], self.rows[places], -1)
        themselves = torch.arange(queries.start, queries.stop, device=self.labels.device)
        found[found == themselves[:, None]] = -1
        return found.sort(dim=1, descending=True).values

    def _lookup(self, queries: range) -> tuple[Tensor, Tensor]:
        asked = self.labels[queries.start : queries.stop].contiguous()
        place = torch.searchsorted(self.classes, asked).clamp(max=len(self.classes) - 1)
        known = self.classes[place] == asked
        return self.counts[place] * known, self.starts[place]


def most_matches(labels: Tensor, queries: range, gallery: range) -> int:
    """The largest number of same-class items that one of the queries has in a gallery."""
    return int(ClassMembers(labels, gallery).number_of_matches(queries).max())
