"""What charts work out from their values, in files and on the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent_range(shares: Sequence[float]) -> tuple[int, int]:
    """The tens around all values that are known, in percent; 0 to 100 if none is.

    Example:
        >>> percent_range([0.42, 0.71, float("nan")]), percent_range([1.0])
        ((40, 80), (90, 100))
    """
    known = [share for share in shares if not math.isnan(share)]
    if not known:
        return 0, 100
    high = max(10, 10 * math.ceil(10 * max(known) - 1e-6))
    return min(high - 10, 10 * math.floor(10 * min(known))), high


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one equals or beats in both coordinates, from left to right.

    Args:
        points: pairs of which larger is better.

    Returns:
        Those on the front; of equal ones, one.

    Example:
        >>> pareto_front([(1, 3), (2, 2), (1, 2), (3, 1)])
        [(1, 3), (2, 2), (3, 1)]
    """
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]
