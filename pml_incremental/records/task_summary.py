"""One row per task of what the task matrices say so far."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pml_incremental.metrics import TaskMatrix
from pml_incremental.records.record_writer import RecordWriter

# record-keeper replaces the middle of a name, between its first and last underscore, by a hash
# when it is longer than this; what looks the table up afterwards does not find it.
_LONGEST_MIDDLE = 64


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
