"""The largest scores of each row, found through the maxima of groups."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 64


def top_scores(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row.

    In long rows they are all in the k groups of 64 with the largest maxima (or equal to entries
    there), and a maximum is cheaper than a selection.

    Args:
        scores: shape (B, G).
        k: 1 to G.

    Returns:
        Scores, descending, and their columns, each of shape (B, k). Of equal scores any may be
        among them.

    Example:
        >>> top_scores(torch.tensor([[0.1, 0.9, 0.5]]), 2)[1].tolist()
        [[1, 2]]
    """
    rows, size = scores.shape
    groups = size // GROUP
    if groups < 4 * k:
        return torch.topk(scores, k, dim=1)
    whole = groups * GROUP
    best = scores[:, :whole].unflatten(1, (groups, GROUP)).amax(dim=2).topk(k, dim=1).indices
    within = torch.arange(GROUP, device=scores.device)
    columns = (best[:, :, None] * GROUP + within).flatten(1)
    rest = torch.arange(whole, size, device=scores.device).expand(rows, -1)
    columns = torch.cat([columns, rest], dim=1)
    top, places = scores.gather(1, columns).topk(k, dim=1)
    return top, columns.gather(1, places)
