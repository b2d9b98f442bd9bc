"""A number measured several times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


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
