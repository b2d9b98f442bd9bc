"""The nearest items of each query, in their exact order."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.search.points import Points
from pml_incremental.search.top_scores import top_scores


def nearest_items(
    points: Points,
    queries: range,
    gallery: range,
    scores: Tensor,
    k: int,
    labels: Tensor | None = None,
) -> Tensor:
    """The k nearest items of a range of queries, as float64 arithmetic orders them.

    The rough scores choose candidates. Where two of them are too near to each other to be told
    apart by scores, their exact distances decide; of equal distances the first item wins.

    Args:
        points: the embeddings.
        queries: which rows ask.
        gallery: which rows are searched; all of the queries or none of them.
        scores: of the gallery for the queries, shape (Q, G), -inf for a query itself.
        k: how many, at most as many as there are besides the query.
        labels: of all rows; if given, the order is exact only between items of the query's class
            and others, which is all that retrieval metrics look at and takes less time.

    Returns:
        Rows of ``points``, nearest first, shape (Q, k), int64.
    """
    available = len(gallery) - int(queries.start in gallery)
    wanted = min(available, k + max(8, k // 8))
    top, columns = top_scores(scores, wanted)
    tolerance = points.tolerance(queries).to(top.dtype)
    unsure = top[:, :-1] - top[:, 1:] <= tolerance[:, None]
    rows = torch.arange(queries.start, queries.stop, device=points.device)
    found = columns + gallery.start
    mixed = torch.nonzero(unsure[:, :k].any(dim=1)).flatten()
    if len(mixed):
        relevant = None if labels is None else labels[found[mixed]] == labels[rows[mixed], None]
        found[mixed] = _settle(points, rows[mixed], found[mixed], unsure[mixed], relevant)
    found = found[:, :k]
    if wanted < available:
        # Candidates that run into the last one may have equals outside.
        for row in torch.nonzero(unsure[:, k - 1 :].all(dim=1)).flatten().tolist():
            near = torch.nonzero(scores[row] >= top[row, k - 1] - tolerance[row]).flatten()
            found[row] = _in_exact_order(points, rows[row], near + gallery.start)[:k]
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


def _in_exact_order(points: Points, query: Tensor, items: Tensor) -> Tensor:
    distances = points.exact_distances(query.expand(len(items)), items)
    return items[distances.argsort(stable=True)]
