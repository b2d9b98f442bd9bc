"""Which images a query finds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def nearest(embeddings: Tensor, query_indices: Sequence[int], k: int = 5) -> Tensor:
    """The k images nearest to some of them, the query itself left out.

    Distances are Euclidean, in float64; of equally near images the first comes first.

    Args:
        embeddings: shape (N, d); queries and gallery are all of these.
        query_indices: which rows are the queries, Q of them.
        k: how many to find, at most N - 1 are there.

    Returns:
        Indices of the images found, nearest first, shape (Q, min(k, N - 1)), int64.

    Raises:
        ValueError: if k is below 1 or an index is none of the rows.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> nearest(points, [0, 3], k=2).tolist()
        [[1, 2], [2, 1]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    queries = torch.as_tensor(query_indices, dtype=torch.long, device=embeddings.device)
    if len(queries) and not (queries.min() >= 0 and queries.max() < len(embeddings)):
        raise ValueError(f"query_indices must be from 0 to {len(embeddings) - 1}: {query_indices}")
    points = embeddings.double()
    # The faster way by matrix products is inexact for near points.
    distances = torch.cdist(points[queries], points, compute_mode="donot_use_mm_for_euclid_dist")
    distances[torch.arange(len(queries), device=queries.device), queries] = torch.inf
    found: Tensor = distances.argsort(dim=1, stable=True)[:, : min(k, len(points) - 1)]
    return found
