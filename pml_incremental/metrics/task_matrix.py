"""The task matrix: one metric on every task after learning each task."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pml_incremental.metrics.recall import check_rates, check_task_values
from pml_incremental.metrics.task_summaries import (
    average_incremental,
    backward_transfer,
    forgetting,
    forward_transfer,
    last,
    max_forgetting,
)
from pml_incremental.storage import write_text_whole

RECALL_AT_1 = "recall_at_1"
#: Among the images of the query's own task.
OWN = f"own/{RECALL_AT_1}"
#: Among those of all tasks seen.
JOINT = f"joint/{RECALL_AT_1}"

SUMMARIES = (
    average_incremental,
    last,
    forgetting,
    max_forgetting,
    backward_transfer,
    forward_transfer,
)


class TaskMatrix:
    """A retrieval metric a[i][j] on the held-out images of task j after learning task i.

    Row 0 is the model before any task, row i the model after task i; column j - 1 is task j. NaN
    stands for not measured, and whatever needs a value that is missing is NaN.

    Args:
        values: shares in [0, 1] or NaN, shape (T + 1, T); copied. None, as :meth:`to_dict` writes
            it, is NaN too.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> matrix = TaskMatrix.empty(2)
        >>> matrix.set_row(0, [0.25, 0.25])
        >>> matrix.set_row(1, [0.75, 0.5])
        >>> matrix.set_row(2, [0.5, 0.75])
        >>> matrix.summary()["forgetting"]
        0.25
    """

    def __init__(self, values: ArrayLike | Sequence[Sequence[float | None]]) -> None:
        self.values = check_task_values(values)

    @classmethod
    def empty(cls, num_tasks: int) -> TaskMatrix:
        """A matrix for ``num_tasks`` >= 1 tasks, nothing measured yet."""
        return cls(np.full((num_tasks + 1, num_tasks), np.nan))

    @property
    def num_tasks(self) -> int:
        """T, the number of tasks."""
        return int(self.values.shape[1])

    @property
    def task_names(self) -> list[str]:
        """Names of the columns: task 1 to task T."""
        return [f"task {j}" for j in range(1, self.num_tasks + 1)]

    @property
    def row_names(self) -> list[str]:
        """Names of the rows: before, then task 1 to task T."""
        return ["before", *self.task_names]

    def set_row(self, i: int, row: ArrayLike) -> None:
        """Set what was measured after task ``i`` (0: before any), shape (T,)."""
        if not 0 <= i <= self.num_tasks:
            raise ValueError(f"row must be between 0 and {self.num_tasks}, got {i}")
        new = np.asarray(row, dtype=np.float64)
        if new.shape != (self.num_tasks,):
            raise ValueError(
                f"row {i} needs {self.num_tasks} values, one per task (NaN: not measured), got "
                f"shape {new.shape}"
            )
        check_rates(f"row {i}", new)
        self.values[i] = new

    def average_incremental(self) -> float:
        """See :func:`pml_incremental.metrics.average_incremental`."""
        return average_incremental(self.values)

    def last(self) -> float:
        """See :func:`pml_incremental.metrics.last`."""
        return last(self.values)

    def forgetting(self) -> float:
        """Diagonal convention, see :func:`pml_incremental.metrics.forgetting`."""
        return forgetting(self.values)

    def max_forgetting(self) -> float:
        """Max convention, see :func:`pml_incremental.metrics.max_forgetting`."""
        return max_forgetting(self.values)

    def backward_transfer(self) -> float:
        """See :func:`pml_incremental.metrics.backward_transfer`."""
        return backward_transfer(self.values)

    def forward_transfer(self) -> float:
        """See :func:`pml_incremental.metrics.forward_transfer`."""
        return forward_transfer(self.values)

    def summary(self) -> dict[str, float]:
        """All of the above by name; NaN where undefined."""
        return {function.__name__: function(self.values) for function in SUMMARIES}

    def to_dict(self) -> dict[str, Any]:
        """Values and summary as JSON can hold them: NaN becomes None."""
        plain: dict[str, Any] = without_nan(
            {"values": self.values.tolist(), "summary": self.summary()}
        )
        return plain

    def to_csv(self, path: str | Path) -> None:
        """Write one line per row under a header; floats in full, NaN as an empty cell."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["after", *self.task_names])
        for name, row in zip(self.row_names, self.values.tolist(), strict=True):
            writer.writerow([name, *("" if math.isnan(value) else value for value in row)])
        write_text_whole(Path(path), text.getvalue())

    @classmethod
    def from_csv(cls, path: str | Path) -> TaskMatrix:
        """Read what :meth:`to_csv` wrote; ValueError names a file that is none of it."""
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        try:
            return cls([[float(cell or "nan") for cell in line[1:]] for line in lines[1:]])
        except ValueError as error:
            raise ValueError(f"{path} is not the CSV file of a task matrix: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskMatrix) and np.array_equal(
            self.values, other.values, equal_nan=True
        )

    __hash__ = None  # type: ignore[assignment]  # set_row changes it

    def __repr__(self) -> str:
        return f"TaskMatrix({self.values.tolist()})"


def without_nan(value: Any) -> Any:
    """The same with None for each NaN, however deep in dictionaries and lists."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
