"""What records are written through."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from pml_incremental.metrics import TaskMatrix

# record-keeper replaces the middle of a name, between its first and last underscore, by a hash
# when it is longer than this; what looks the table up afterwards does not find it.
_LONGEST_MIDDLE = 64


class RecordWriter(Protocol):
    """Where numbers and pictures of one *scope* go: a task, or the summary over tasks.

    A writer of your own has these methods and takes any of the arguments ``folder`` (of all
    records of the run), ``run`` (its name) and ``scope`` (such as ``correlation/task_2``).
    """

    def config(self, values: Mapping[str, Any]) -> None:
        """Note what decided the run.

        Args:
            values: plain values, nested.
        """

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Write numbers that belong together: the row of a table, or curves under one heading.

        Args:
            group: such as ``losses``; letters, digits and underscores.
            values: by name; NaN where undefined. A group has the same names at every step.
            step: iteration, epoch or task.
        """

    def image(self, name: str, file: Path, step: int) -> None:
        """Write a picture.

        Args:
            name: what it shows; letters, digits and underscores.
            file: a PNG or JPEG file.
            step: as for :meth:`scalars`.
        """

    def close(self) -> None:
        """Finish writing; the writer is not used again."""


class SeveralWriters:
    """Passes everything on to each of its writers, in their order; with none, does nothing.

    Args:
        writers: any number of them.

    Example:
        >>> SeveralWriters([]).scalars("losses", {"total_loss": 0.5}, step=1)
    """

    def __init__(self, writers: Sequence[RecordWriter]) -> None:
        self.writers = tuple(writers)

    def config(self, values: Mapping[str, Any]) -> None:
        """See :meth:`RecordWriter.config`."""
        for writer in self.writers:
            writer.config(values)

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """See :meth:`RecordWriter.scalars`."""
        for writer in self.writers:
            writer.scalars(group, values, step)

    def image(self, name: str, file: Path, step: int) -> None:
        """See :meth:`RecordWriter.image`."""
        for writer in self.writers:
            writer.image(name, file, step)

    def close(self) -> None:
        """Close all, also if one of them fails."""
        with ExitStack() as stack:
            for writer in self.writers:
                stack.callback(writer.close)


def record_task_summary(
    writer: RecordWriter, matrices: Mapping[str, TaskMatrix], task: int
) -> None:
    """Write what is known after a task.

    The group ``summary`` holds, for each metric, the means and forgetting of
    :meth:`~pml_incremental.metrics.TaskMatrix.summary` over the tasks so far, as
    ``own_recall_at_1_last``, ...; a group per metric holds the values of every task.

    Args:
        writer: of the summary.
        matrices: by metric, such as ``own/recall_at_1``; their rows up to this task are read.
        task: number of the task, counted from 1; it is the step of the rows.

    Raises:
        ValueError: if there is no such task.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from pml_incremental.records.writers import RecordKeeperWriter
        >>> matrices = {"own/recall_at_1": TaskMatrix([[0.2, 0.2], [0.9, 0.3], [0.5, 0.8]])}
        >>> with TemporaryDirectory() as folder:
        ...     writer = RecordKeeperWriter(folder, "summary")
        ...     for task in (1, 2):
        ...         record_task_summary(writer, matrices, task)
        ...     query = "SELECT own_recall_at_1_last AS last FROM summary"
        ...     [round(row["last"], 2) for row in writer.keeper.query(query)]
        [0.9, 0.65]
    """
    summary: dict[str, float] = {}
    for metric, matrix in matrices.items():
        if not 1 <= task <= matrix.num_tasks:
            raise ValueError(f"{metric} has tasks 1 to {matrix.num_tasks}, there is no {task}")
        name = record_name(metric)
        so_far = TaskMatrix(matrix.values[: task + 1, :task]).summary()
        summary.update({f"{name}_{what}": value for what, value in so_far.items()})
        row = matrix.values[task].tolist()
        values = {f"task_{j}": value for j, value in enumerate(row, 1)}
        writer.scalars(name, values, task)
    writer.scalars("summary", summary, task)


def record_name(text: str) -> str:
    """The text with everything but letters, digits and underscores made an underscore.

    Example:
        >>> record_name("own/recall_at_1")
        'own_recall_at_1'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def check_table_name(name: str, what: str = "the name") -> None:
    """Refuse what record-keeper cannot keep as the name of a table.

    Args:
        name: of the table; it becomes unquoted SQL.
        what: whose name it is, for the message.

    Raises:
        ValueError: if it holds anything but letters, digits and underscores, begins with a digit,
            or is so long that record-keeper would replace a part of it.

    Example:
        >>> check_table_name("own_recall_at_1")
        >>> check_table_name("task-1", "split 'task-1'")
        Traceback (most recent call last):
        ...
        ValueError: split 'task-1' gives a table 'task-1', which SQL cannot name: use letters, \
digits and underscores
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            f"{what} gives a table {name!r}, which SQL cannot name: use letters, digits and "
            "underscores"
        )
    middle = "_".join(name.split("_")[1:-1])
    if len(middle) > _LONGEST_MIDDLE:
        raise ValueError(
            f"{what} gives a table {name!r}, of which record-keeper would replace the middle by a "
            f"hash, as it is {len(middle)} characters long and may be {_LONGEST_MIDDLE}: use a "
            "shorter name"
        )
