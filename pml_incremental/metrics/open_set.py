"""Can a distance tell queries of known classes from those of classes not in the gallery?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
