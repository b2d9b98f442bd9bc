"""Places of same-class items in the ranking of a whole gallery, without keeping the ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.metrics.match_ranks import NOT_FOUND
from pml_incremental.search.points import Points


def places_in_whole_ranking(
    points: Points, queries: range, gallery: range, scores: Tensor, matches: Tensor
) -> Tensor:
    """The place of each match among all items of the gallery, as float64 arithmetic orders them.

    A place is one more than the number of items with a larger score. Where another score is too
    near to a match's, exact distances decide; of equal distances the first item comes first.

    Args:
        points: the embeddings, with scores in float64.
        queries: which rows ask.
        gallery: which rows are searched.
        scores: of the gallery for the queries, shape (Q, G), -inf for a query itself.
        matches: rows of ``points`` in the gallery to place, shape (Q, M), -1 where there are fewer.

    Returns:
        Places from 1, ascending, shape (Q, M), int64; ``NOT_FOUND`` where there are fewer.
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
