"""How retrieval accuracy changed since each prior model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pml_incremental.metrics.recall_at_1 import OWN

#: (low, high): smallest and largest change.
Range: TypeAlias = tuple[float, float]


def accuracy_ranges(
    measurements: Sequence[Mapping[str, Mapping[str, float | None]]],
    fixed_range: Range | None = None,
    trained_start: bool = False,
) -> dict[int, Range]:
    r"""Smallest and largest change of Recall@1 from each prior model to the last model.

    .. math:: low_k = \min_{j \le t} (a_{tj} - a_{kj}), \quad
        high_k = \max_{j \le t} (a_{tj} - a_{kj})

    over the held-out images of the tasks learned so far. The paper speaks of an "accuracy change"
    without saying how it is worked out; this reading is ours.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (feature estimation).
    """
    last = len(measurements) - 1
    tasks = [f"task_{number}" for number in range(1, last + 1)]

    def accuracy(model: int, task: str) -> float:
        value = measurements[model][OWN][task]
        assert value is not None  # own-gallery values are measured for every task
        return value

    ranges: dict[int, Range] = {}
    for k, model in enumerate(range(0 if trained_start else 1, last), start=1):
        changes = [accuracy(last, task) - accuracy(model, task) for task in tasks]
        ranges[k] = fixed_range if fixed_range is not None else (min(changes), max(changes))
    return ranges
