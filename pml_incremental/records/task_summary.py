"""One row per task of what the task matrices say so far."""

from __future__ import annotations

from collections.abc import Mapping

from pml_incremental.metrics import TaskMatrix
from pml_incremental.records.names import record_name
from pml_incremental.records.record_writer import RecordWriter


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
