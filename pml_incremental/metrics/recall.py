"""Recall@K from the labels of each query's nearest items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Means of exact ratios may end a few units in the last place above 1.
ROUNDING = 1e-9


def recall_at_k(
    knn_labels: Tensor,
    query_labels: Tensor,
    k: int,
    same_class: Callable[[Tensor, Tensor], Tensor] = torch.eq,
) -> Tensor:
    r"""Whether an item of the query's class is among its K nearest, for each query.

    .. math:: r_q = [\, y_q \in \{y_{n_1(q)}, \dots, y_{n_K(q)}\} \,]

    Recall@K is the mean of r. A query without a same-class item in its gallery can only miss, so
    leave it out of the mean: :func:`lone_queries` finds them.

    Source: Jégou, Douze, Schmid, IEEE TPAMI 33, 2011 (recall@R); Oh Song et al., CVPR 2016 (its
    use in metric learning).

    Args:
        knn_labels: labels of the nearest items, nearest first and without the query itself, shape
            (Q, K'). With K' < K the gallery is taken to hold K' items.
        query_labels: shape (Q,).
        k: K >= 1.
        same_class: elementwise comparison of a query's label with an item's.

    Returns:
        Hits, 0 or 1, shape (Q,), float64.

    Raises:
        ValueError: if k is below 1 or the numbers of queries differ.

    Example:
        >>> knn_labels = torch.tensor([[7, 3, 3], [5, 5, 7]])
        >>> recall_at_k(knn_labels, torch.tensor([3, 9]), k=2).tolist()
        [1.0, 0.0]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if len(knn_labels) != len(query_labels):
        raise ValueError(
            f"knn_labels has {len(knn_labels)} rows but query_labels {len(query_labels)}: "
            "pass one row of nearest labels per query"
        )
    hits = same_class(query_labels.unsqueeze(1), knn_labels[:, :k])
    return hits.any(dim=1).to(torch.float64)


def lone_queries(query_labels: Tensor, gallery_labels: Tensor, self_in_gallery: bool) -> Tensor:
    """Which queries have no item of their class to be found in the gallery.

    Args:
        query_labels: shape (Q,).
        gallery_labels: shape (G,).
        self_in_gallery: whether each query is itself one of the gallery's items, which then does
            not count.

    Returns:
        True for a query that nothing can answer, shape (Q,), bool.

    Raises:
        ValueError: if the gallery is empty.

    Example:
        >>> labels = torch.tensor([4, 4, 8])
        >>> lone_queries(labels, labels, self_in_gallery=True).tolist()
        [False, False, True]
    """
    if len(gallery_labels) == 0:
        raise ValueError("gallery_labels is empty: pass the labels of at least one item")
    classes, counts = torch.unique(gallery_labels, return_counts=True)
    position = torch.searchsorted(classes, query_labels).clamp(max=len(classes) - 1)
    matches = counts[position] * (classes[position] == query_labels)
    lone: Tensor = matches <= int(self_in_gallery)
    return lone


def check_task_values(
    values: ArrayLike | Sequence[Sequence[float | None]],
) -> NDArray[np.float64]:
    """A float64 copy of ``values``, or an error if they are no task matrix."""
    matrix = np.array(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.shape[0] != matrix.shape[1] + 1:
        raise ValueError(
            f"a task matrix has shape (T + 1, T), row 0 being the untrained model, got "
            f"{matrix.shape}"
        )
    check_rates("a task matrix", matrix)
    return matrix


def check_rates(name: str, values: NDArray[np.float64]) -> None:
    """Raise unless every value is NaN or within [0, 1]."""
    outside = ~np.isnan(values) & ~((values >= -ROUNDING) & (values <= 1 + ROUNDING))
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"{name} holds shares between 0 and 1, got {values[where]} at "
            f"{where if len(where) > 1 else where[0]}: divide percentages by 100"
        )
