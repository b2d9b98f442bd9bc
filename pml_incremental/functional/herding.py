"""Which images stand for a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_incremental.functional.checks import widen


def herding_order(embeddings: Tensor, count: int) -> Tensor:
    r"""The images of a class whose running mean is nearest to the mean of the class.

    .. math:: p_k = \arg\min_x \left\lVert \mu -
              \frac1k \left( f(x) + \sum_{j<k} f(p_j) \right) \right\rVert

    with f of length 1, each image taken once. The first k of a longer list are what a shorter one
    would hold, so a list may be cut.

    Source: Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017,
    algorithm 4.

    Args:
        embeddings: of one class, shape (N, d).
        count: how many to choose.

    Returns:
        Row numbers in the order of choice, shape (min(count, N),), int64.

    Raises:
        ValueError: if count is below 1 or the embeddings are not of shape (N, d).

    Example:
        >>> herding_order(torch.tensor([[1.0, 0.0], [0.7, 0.7], [0.0, 1.0]]), 1).tolist()
        [1]
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(
            f"embeddings must have shape (N, d) with N > 0, got {tuple(embeddings.shape)}"
        )
    features = normalize(widen(embeddings))
    mean = features.mean(dim=0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen: list[Tensor] = []
    for k in range(1, min(count, len(features)) + 1):
        distances = (mean - (total + features) / k).norm(dim=1)
        best = distances.where(free, torch.inf).argmin()
        total = total + features[best]
        free[best] = False
        chosen.append(best)
    return torch.stack(chosen)
