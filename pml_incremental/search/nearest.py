"""The nearest items of each query, in their exact order."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.search.best_scores import BestScores
from pml_incremental.search.lookup import Lookup
from pml_incremental.search.points import Points
from pml_incremental.search.table import side_of_tile


def number_of_candidates(lookup: Lookup, k: int) -> int:
    """How many of the best scores :func:`nearest_items` needs to find k items."""
    return min(lookup.available, k + max(8, k // 8))


def nearest_items(
    points: Points,
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

    Args:
        points: the embeddings.
        queries: some of the rows that ask.
        lookup: the gallery that they are looked up in.
        best: their best scores, as many as :func:`number_of_candidates` says.
        k: how many, at most as many as there are besides the query.
        memory: bytes to work with where scores must be computed again.
        labels: of all rows; if given, the order is exact only between items of the query's class
            and others, which is all that retrieval metrics look at and takes less time.

    Returns:
        Rows of ``points``, nearest first, shape (Q, k), int64.
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
    points: Points, queries: Tensor, items: Tensor, unsure: Tensor, relevant: Tensor | None
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
    points: Points, queries: Tensor, least: Tensor, gallery: range, k: int, memory: int
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
