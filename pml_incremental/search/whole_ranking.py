"""Places of same-class items in the ranking of a whole gallery, without keeping the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pml_incremental.metrics.match_ranks import NOT_FOUND, MatchRanks, trim
from pml_incremental.search.lookup import ClassMembers, Lookup, hull, overlap
from pml_incremental.search.points import Points
from pml_incremental.search.scan import COPIES_OF_SCORES


def whole_rankings(
    points: Points,
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


def _scores(points: Points, queries: range, items: range) -> Tensor:
    if len(items) <= points.rows_at_once or points.items is not None:
        return points.scores(queries, items)
    shape = len(queries), len(items)
    scores = torch.empty(shape, dtype=points.dtype, device=points.device)
    for start in range(0, len(items), points.rows_at_once):
        part = items[start : start + points.rows_at_once]
        scores[:, start : start + len(part)] = points.scores(queries, part)
    return scores


def places_in_whole_ranking(
    points: Points, queries: range, gallery: range, scores: Tensor, matches: Tensor
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
    points: Points, query: int, first: int, scores: Tensor, items: Tensor, tolerance: Tensor
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
