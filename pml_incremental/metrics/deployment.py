"""Searching an old index with a new model: what follows from the cross-model matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pml_incremental.metrics.recall import check_rates


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


def open_set_auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    r"""Area under the ROC curve of accepting queries whose nearest item is near.

    .. math:: P(d_{known} < d_{unknown}) + \tfrac12 P(d_{known} = d_{unknown})

    Source: Hendrycks & Gimpel, ICLR 2017 (its use for inputs of unknown classes).

    Args:
        known: distance to the nearest gallery item, of queries whose class is in the gallery.
        unknown: the same of queries whose class is not.

    Returns:
        A share in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: if there are no known or no unknown queries, or a distance is NaN.

    Example:
        >>> open_set_auroc([0.1, 0.4], [0.4, 0.9])
        0.875
    """
    inside, outside = _distances("known", known), np.sort(_distances("unknown", unknown))
    farther = len(outside) - np.searchsorted(outside, inside, side="right")
    equal = len(outside) - np.searchsorted(outside, inside, side="left") - farther
    return float((farther + equal / 2).sum() / (len(inside) * len(outside)))


def open_set_fpr(known: ArrayLike, unknown: ArrayLike, tpr: float = 0.95) -> float:
    """Share of unknown queries accepted when at least ``tpr`` of the known ones are.

    The threshold is the smallest distance that accepts so many; equal distances are accepted.

    Source: Liang, Li, Srikant, ICLR 2018 (FPR at 95 % TPR).

    Args:
        known: as for :func:`open_set_auroc`.
        unknown: as for :func:`open_set_auroc`.
        tpr: share of known queries to accept, above 0 and at most 1.

    Returns:
        A share in [0, 1]; lower is better.

    Raises:
        ValueError: as for :func:`open_set_auroc`, or if tpr is out of range.

    Example:
        >>> open_set_fpr([0.1, 0.2, 0.3, 0.4], [0.25, 0.9], tpr=0.75)
        0.5
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must be above 0 and at most 1, got {tpr}")
    inside = np.sort(_distances("known", known))
    # 0.95 * 20 is 19.000000000000004 in binary: take off what rounding may have added.
    threshold = inside[max(1, math.ceil(tpr * len(inside) - 1e-9)) - 1]
    return float((_distances("unknown", unknown) <= threshold).mean())


def _distances(name: str, values: ArrayLike) -> NDArray[np.float64]:
    distances = np.asarray(values, dtype=np.float64).ravel()
    if len(distances) == 0:
        raise ValueError(f"there are no {name} queries: open-set values need known and unknown")
    if np.isnan(distances).any():
        raise ValueError(f"{int(np.isnan(distances).sum())} distances of {name} queries are NaN")
    return distances
