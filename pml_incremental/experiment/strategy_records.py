"""What the records say of a strategy over its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pml_incremental.metrics import TaskMatrix
from pml_incremental.records import RecordWriter, record_name, record_task_summary


def record_finished_task(
    writer: RecordWriter,
    task_number: int,
    matrices: Mapping[str, TaskMatrix],
    memory: Mapping[str, Any] | None,
) -> None:
    """Write the summary after a task, and what the strategy's memory holds.

    Args:
        writer: of the strategy's summary.
        task_number: the step.
        matrices: what was measured so far.
        memory: what :meth:`~pml_incremental.strategies.Component.report` said, if anything. Its
            numbers become the group ``memory``; each of its ``ranges`` a group ``range_M_k`` with
            ``low`` and ``high``.
    """
    record_task_summary(writer, matrices, task_number)
    if memory is None:
        return
    numbers = {name: value for name, value in memory.items() if isinstance(value, int | float)}
    writer.scalars("memory", numbers, task_number)
    for model, (low, high) in memory.get("ranges", {}).items():
        writer.scalars(f"range_{model}", {"low": low, "high": high}, task_number)


def record_pictures(writer: RecordWriter, pictures: Mapping[str, Path], step: int) -> None:
    """Write pictures by name, such as ``own/recall_at_1_matrix``."""
    for name, file in pictures.items():
        writer.image(record_name(name), file, step)
