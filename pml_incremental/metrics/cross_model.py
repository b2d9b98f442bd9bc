"""Searching an old index with a new model: what follows from the cross-model matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pml_incremental.metrics._checks import check_rates


@dataclass(frozen=True)
class CrossModelSummary:
    """What happens to an index that is not rebuilt when the model is updated.

    Attributes:
        compatible_share: share of updates (pairs j < i) with c[i][j] > c[j][j].
        mean_gain: mean over the updates of c[i][j] - c[j][j].
        mean_reindexing_gain: mean over the updates of r[i][j] - c[j][j].
    """

    compatible_share: float
    mean_gain: float
    mean_reindexing_gain: float


def summarise_cross_model(cross: ArrayLike, reindexed: ArrayLike) -> CrossModelSummary:
    r"""Whether new models can search what older models have indexed.

    c[i][j] is a retrieval metric with queries embedded by model i and the gallery as model j
    embedded it when it held the images of tasks 1 to j; r[i][j] is the same with the gallery
    embedded anew by model i. An update from j to i > j is backward compatible if

    .. math:: c_{ij} > c_{jj}

    Source: Shen et al., CVPR 2020 (backward-compatible training, the empirical criterion).

    Args:
        cross: c in [0, 1], shape (T, T); what is above the diagonal is not looked at.
        reindexed: r in [0, 1], shape (T, T), its diagonal that of c.

    Returns:
        A summary, all NaN if there is no update (T = 1) or a value is missing.

    Raises:
        ValueError: if the shapes differ or are not square, or a value is outside [0, 1].

    Example:
        >>> c = [[0.5, 0.0], [0.6, 0.8]]
        >>> r = [[0.5, 0.0], [0.75, 0.8]]
        >>> summarise_cross_model(c, r).compatible_share
        1.0
    """
    c, r = _square("cross", cross), _square("reindexed", reindexed)
    if c.shape != r.shape:
        raise ValueError(f"cross has shape {c.shape} but reindexed {r.shape}")
    new, old = np.tril_indices(len(c), k=-1)
    before, after, rebuilt = c[old, old], c[new, old], r[new, old]
    if len(new) == 0 or np.isnan([before, after, rebuilt]).any():
        return CrossModelSummary(np.nan, np.nan, np.nan)
    return CrossModelSummary(
        float((after > before).mean()),
        float((after - before).mean()),
        float((rebuilt - before).mean()),
    )


def _square(name: str, values: ArrayLike) -> NDArray[np.float64]:
    matrix = np.array(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ValueError(f"{name} must have shape (T, T), got {matrix.shape}")
    check_rates(name, matrix)
    return matrix
