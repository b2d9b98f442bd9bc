"""How sure a mean over queries is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


def bootstrap_interval(
    groups: Sequence[ArrayLike], confidence: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean of group means, such as Recall@1 over tasks.

    Queries are drawn anew within each group; classes and the model are taken as they are, so the
    interval says nothing of what another seed or other classes would give.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13.

    Args:
        groups: one value per query, for each group (task); NaN values are left out.
        confidence: share of the bootstrap means inside the interval, between 0 and 1.
        samples: how many bootstrap means.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN if a group has no values.

    Raises:
        ValueError: if there are no groups, or confidence or samples are out of range.

    Example:
        >>> bootstrap_interval([[1.0, 1.0, 1.0]])
        (1.0, 1.0)
    """
    if not groups:
        raise ValueError("groups is empty: give the values of at least one group")
    if not 0 < confidence < 1 or samples < 1:
        raise ValueError(
            "confidence must be between 0 and 1 and samples at least 1, got "
            f"{confidence} and {samples}"
        )
    random = np.random.default_rng(seed)
    means = np.zeros(samples)
    for group in groups:
        values = np.asarray(group, dtype=np.float64)
        values = values[~np.isnan(values)]
        if len(values) == 0:
            return float("nan"), float("nan")
        means += [random.choice(values, len(values)).mean() for _ in range(samples)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means / len(groups), [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of repeated measurements.

    Attributes:
        mean: NaN if a measurement is missing.
        std: with n - 1 in the denominator; NaN for a single measurement.
    """

    mean: float
    std: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of one or more measurements.

        Args:
            values: the measurements; NaN for one that is missing.

        Returns:
            Their mean and spread.

        Raises:
            ValueError: if there are none.

        Example:
            >>> Spread.of([0.5, 0.75])
            Spread(mean=0.625, std=0.1767766952966369)
        """
        array = np.fromiter(values, dtype=np.float64)
        if len(array) == 0:
            raise ValueError("there are no measurements: give at least one")
        std = array.std(ddof=1) if len(array) > 1 else np.nan
        return cls(float(array.mean()), float(std))
