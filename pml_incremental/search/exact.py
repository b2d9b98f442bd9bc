"""Exact search of one set of embeddings in itself, for several galleries at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pml_incremental.metrics.rank_metrics import (
    NOT_FOUND,
    MatchRanks,
    concatenate,
    match_ranks,
    trim,
)
from pml_incremental.search.centred_embeddings import CentredEmbeddings
from pml_incremental.search.scan import (
    COPIES_OF_SCORES,
    BestScores,
    ClassMembers,
    Lookup,
    hull,
    overlap,
    scan,
    side_of_tile,
)
from pml_incremental.search.tensors import Stacked

GIBIBYTE = 2**30


class ExactSearch:
    """Rankings of images by Euclidean distance, the query itself left out.

    Distances are compared as float64 arithmetic has them, and of equally far items the first in
    the set comes first: matrix products only choose and sort what they can surely tell apart. So
    the rankings are those of plain loops in float64, whatever the chunks, threads or device.

    Args:
        embeddings: shape (N, d), or several such tensors, one below the other; they are not
            copied and may be mapped from files.
        labels: shape (N,), integers of any size.
        memory: bytes to work with, about the peak above the embeddings. Embeddings of up to half
            as many bytes are kept prepared for the search, larger ones are prepared in chunks.
        device: where to search. Default: where the embeddings are.

    Raises:
        ValueError: if shapes do not fit or memory is not positive; when asked, if an embedding is
            not finite.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> search = ExactSearch(points, torch.tensor([0, 0, 1, 1]))
        >>> found, = search.rank_matches([Lookup(range(4), range(4), depth=2)])
        >>> found.ranks.tolist()  # the largest number stands for "not among them"
        [[1], [2], [4611686018427387904], [1]]
    """

    def __init__(
        self,
        embeddings: Tensor | Sequence[Tensor],
        labels: Tensor,
        memory: int = GIBIBYTE // 2,
        device: torch.device | str | None = None,
    ) -> None:
        self.embeddings = Stacked([embeddings] if isinstance(embeddings, Tensor) else embeddings)
        if len(self.embeddings) != len(labels):
            raise ValueError(f"{len(self.embeddings)} embeddings have {len(labels)} labels")
        if memory <= 0:
            raise ValueError(f"memory must be a positive number of bytes, got {memory}")
        self.memory = memory
        self.device = self.embeddings.device if device is None else torch.device(device)
        self.labels = labels.to(self.device)
        self._points: dict[torch.dtype, CentredEmbeddings] = {}

    def rank_matches(self, lookups: Sequence[Lookup]) -> list[MatchRanks]:
        """Where the same-class items of each query stand, for several lookups.

        Scores are computed once for all lookups, and once for both images of a pair.

        Args:
            lookups: who asks, what is searched and how deep. Depths beyond the gallery are cut.

        Returns:
            One :class:`~pml_incremental.metrics.MatchRanks` per lookup.

        Raises:
            ValueError: if a range is empty or beyond the embeddings, or a gallery holds some of the
                queries only.
        """
        for lookup in lookups:
            lookup.check(len(self.labels))
        cut = dict(enumerate(map(_cut, lookups)))
        members = {n: ClassMembers(self.labels, x.gallery) for n, x in cut.items()}
        parts: dict[int, list[MatchRanks]] = {n: [] for n in cut}
        for n, ranks in self._to_depth({n: x for n, x in cut.items() if x.depth}, members):
            parts[n].append(ranks)
        for n, ranks in self._whole({n: x for n, x in cut.items() if x.depth is None}, members):
            parts[n].append(ranks)
        for n, lookup in cut.items():
            if lookup.depth == 0:
                matches = members[n].number_of_matches(lookup.queries)
                nothing = matches.new_empty(len(matches), 0)
                parts[n].append(MatchRanks(nothing, matches, lookup.available, 0))
        return [concatenate(found) for found in parts.values()]

    def nearest(self, queries: range, gallery: range, k: int) -> Tensor:
        """The k nearest rows of each query, or all there are, shape (Q, min(k, available))."""
        lookup = Lookup(queries, gallery, k)
        lookup.check(len(self.labels))
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        k = min(k, lookup.available)
        if k == 0:
            return torch.empty(len(queries), 0, dtype=torch.int64, device=self.device)
        points = self._prepared(torch.float32)
        found = scan(points, {0: lookup}, {0: number_of_candidates(lookup, k)}, self.memory)
        return torch.cat(
            [nearest_items(points, rows, lookup, best, k, self.memory) for _, rows, best in found]
        )

    def _to_depth(
        self, lookups: Mapping[int, Lookup], members: Mapping[int, ClassMembers]
    ) -> Iterator[tuple[int, MatchRanks]]:
        """Lookups of some depth, block by block of the queries of each."""
        if not lookups:
            return
        points = self._prepared(torch.float32)
        wanted = {n: number_of_candidates(x, x.depth or 0) for n, x in lookups.items()}
        for n, rows, best in scan(points, lookups, wanted, self.memory):
            lookup, depth = lookups[n], lookups[n].depth or 0
            found = nearest_items(points, rows, lookup, best, depth, self.memory, self.labels)
            asked = self.labels[rows.start : rows.stop]
            matches = members[n].number_of_matches(rows)
            yield n, match_ranks(self.labels[found] == asked[:, None], matches, lookup.available)

    def _whole(
        self, lookups: Mapping[int, Lookup], members: Mapping[int, ClassMembers]
    ) -> Iterator[tuple[int, MatchRanks]]:
        """Lookups of whole galleries, in float64, block by block of the queries of each."""
        if lookups:
            points = self._prepared(torch.float64)
            yield from whole_rankings(points, lookups, members, self.memory)

    def _prepared(self, dtype: torch.dtype) -> CentredEmbeddings:
        if dtype not in self._points:
            points = CentredEmbeddings(self.embeddings, dtype, self.device, self.memory)
            self._points = {dtype: points}
        return self._points[dtype]


def _cut(lookup: Lookup) -> Lookup:
    if lookup.depth is None:
        return lookup
    return replace(lookup, depth=min(lookup.depth, lookup.available))


def number_of_candidates(lookup: Lookup, k: int) -> int:
    """How many of the best scores :func:`nearest_items` needs to find k items."""
    return min(lookup.available, k + max(8, k // 8))


def nearest_items(
    points: CentredEmbeddings,
    queries: range,
    lookup: Lookup,
    best: BestScores,
    k: int,
    memory: int,
    labels: Tensor | None = None,
) -> Tensor:
    """The k nearest items of a range of queries, as float64 arithmetic orders them.

    The rough scores choose candidates. Where two of them are too near to each other to be told
    apart by scores, their exact distances decide; of equal distances the first item wins.
    """
    top, found = best.scores, best.items
    tolerance = points.tolerance(queries).to(top.dtype)
    unsure = top[:, :-1] - top[:, 1:] <= tolerance[:, None]
    rows = torch.arange(queries.start, queries.stop, device=points.device)
    mixed = torch.nonzero(unsure[:, :k].any(dim=1)).flatten()
    if len(mixed):
        relevant = None if labels is None else labels[found[mixed]] == labels[rows[mixed], None]
        found[mixed] = _settle(points, rows[mixed], found[mixed], unsure[mixed], relevant)
    found = found[:, :k]
    if top.shape[1] < lookup.available:
        # Candidates that run into the last one may have equals outside.
        open_ended = torch.nonzero(unsure[:, k - 1 :].all(dim=1)).flatten()
        least = top[open_ended, k - 1] - tolerance[open_ended]
        step = max(1, memory // (8 * len(lookup.gallery)))
        for start in range(0, len(open_ended), step):
            places, limits = open_ended[start : start + step], least[start : start + step]
            found[places] = _search_again(points, rows[places], limits, lookup.gallery, k, memory)
    return found


def _settle(
    points: CentredEmbeddings,
    queries: Tensor,
    items: Tensor,
    unsure: Tensor,
    relevant: Tensor | None,
) -> Tensor:
    """Reorder each run of candidates that scores cannot tell apart."""
    edge = unsure.new_zeros(len(unsure), 1)
    run = torch.cat([edge, ~unsure], dim=1).cumsum(dim=1)
    in_run = torch.cat([unsure, edge], dim=1) | torch.cat([edge, unsure], dim=1)
    if relevant is not None:
        counted = relevant.to(run.dtype)
        hits = torch.zeros_like(run).scatter_add_(1, run, counted).gather(1, run)
        sizes = torch.zeros_like(run).scatter_add_(1, run, torch.ones_like(run)).gather(1, run)
        in_run &= (hits > 0) & (hits < sizes)
    row, column = torch.nonzero(in_run, as_tuple=True)
    distances = torch.zeros(items.shape, dtype=torch.float64, device=items.device)
    distances[row, column] = points.exact_distances(queries[row], items[row, column])
    order = items.argsort(dim=1)
    for key in (distances, run):  # the last key sorted by is the first that counts
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    return items.gather(1, order)


def _search_again(
    points: CentredEmbeddings, queries: Tensor, least: Tensor, gallery: range, k: int, memory: int
) -> Tensor:
    """The k nearest items of a few queries, by the exact distances of all that score enough."""
    side = side_of_tile(points, memory)
    near: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(gallery), side):
        items = gallery[start : start + side]
        enough = points.scores(queries, items) >= least[:, None]
        query, column = torch.nonzero(enough, as_tuple=True)
        near.append((query, column + items.start))
    query, item = (torch.cat(parts) for parts in zip(*near, strict=True))
    found = torch.empty(len(queries), k, dtype=torch.int64, device=points.device)
    for place in range(len(queries)):
        items_near = item[query == place]
        distances = points.exact_distances(queries[place].expand(len(items_near)), items_near)
        found[place] = items_near[distances.argsort(stable=True)[:k]]
    return found


def whole_rankings(
    points: CentredEmbeddings,
    lookups: Mapping[int, Lookup],
    members: Mapping[int, ClassMembers],
    memory: int,
) -> Iterator[tuple[int, MatchRanks]]:
    """Places of all same-class items of the queries of some lookups, block by block of queries."""
    every = hull([lookup.queries for lookup in lookups.values()])
    widest = hull([lookup.gallery for lookup in lookups.values()])
    step = max(1, memory // (COPIES_OF_SCORES * len(widest) * points.dtype.itemsize))
    for start in range(0, len(every), step):
        block = every[start : start + step]
        uses = {n: overlap(lookup.queries, block) for n, lookup in lookups.items()}
        uses = {n: queries for n, queries in uses.items() if len(queries)}
        if not uses:
            continue
        rows, span = hull([*uses.values()]), hull([lookups[n].gallery for n in uses])
        scores = _scores(points, rows, span)
        for n, queries in uses.items():
            gallery, size = lookups[n].gallery, lookups[n].available
            inside = scores[queries.start - rows.start : queries.stop - rows.start]
            inside = inside[:, gallery.start - span.start : gallery.stop - span.start]
            matches = members[n].matches(queries)
            places = places_in_whole_ranking(points, queries, gallery, inside, matches)
            number = members[n].number_of_matches(queries)
            yield n, MatchRanks(trim(places), number, size, size)


def _scores(points: CentredEmbeddings, queries: range, items: range) -> Tensor:
    if len(items) <= points.rows_at_once or points.items is not None:
        return points.scores(queries, items)
    shape = len(queries), len(items)
    scores = torch.empty(shape, dtype=points.dtype, device=points.device)
    for start in range(0, len(items), points.rows_at_once):
        part = items[start : start + points.rows_at_once]
        scores[:, start : start + len(part)] = points.scores(queries, part)
    return scores


def places_in_whole_ranking(
    points: CentredEmbeddings, queries: range, gallery: range, scores: Tensor, matches: Tensor
) -> Tensor:
    """The place of each match among all items of the gallery, as float64 arithmetic orders them.

    A place is one more than the number of items with a larger score. Where another score is too
    near to a match's, exact distances decide; of equal distances the first item comes first.
    """
    there = matches >= 0
    own = scores.gather(1, (matches - gallery.start).clamp(min=0))
    tolerance = points.tolerance(queries)[:, None]
    ordered = _sorted(scores)
    below = torch.searchsorted(ordered, own - tolerance)
    above = torch.searchsorted(ordered, own + tolerance, right=True)
    places = torch.where(there, len(gallery) - above + 1, NOT_FOUND)
    for row in torch.nonzero(((above - below > 1) & there).any(dim=1)).flatten().tolist():
        items = matches[row][there[row]]
        exact = _exact_places(
            points, queries.start + row, gallery.start, scores[row], items, tolerance[row]
        )
        places[row, : len(items)] = exact
    return places.sort(dim=1).values


def _sorted(scores: Tensor) -> Tensor:
    if scores.device.type == "cpu":  # NumPy's sort is vectorised, several times faster
        import numpy as np

        return torch.from_numpy(np.sort(scores.numpy(), axis=1))
    return scores.sort(dim=1).values


def _exact_places(
    points: CentredEmbeddings,
    query: int,
    first: int,
    scores: Tensor,
    items: Tensor,
    tolerance: Tensor,
) -> Tensor:
    own = scores[items - first].sort().values
    after = torch.searchsorted(own, scores)
    distance_up = own[after.clamp(max=len(own) - 1)] - scores
    distance_down = scores - own[(after - 1).clamp(min=0)]
    near = torch.minimum(distance_up.abs(), distance_down.abs()) <= tolerance
    rivals = torch.nonzero(near).flatten() + first
    exact = points.exact_distances(torch.full_like(rivals, query), rivals)
    place = torch.empty_like(rivals)
    place[exact.argsort(stable=True)] = torch.arange(1, len(rivals) + 1, device=rivals.device)
    others = scores[~near].sort().values
    farther = torch.searchsorted(others, scores[items - first])
    among_rivals = place[torch.searchsorted(rivals, items)]
    return among_rivals + len(others) - farther
