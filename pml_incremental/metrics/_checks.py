"""The check that everything over a task matrix shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Means of exact ratios may end a few units in the last place above 1.
ROUNDING = 1e-9


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
