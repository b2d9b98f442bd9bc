"""The records of a run, as its config asks for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.config import ExperimentConfig
from pml_incremental.hooks import RecordLosses
from pml_incremental.metrics import TaskMatrix
from pml_incremental.records import RecordWriter, SeveralWriters, record_name, record_task_summary


@dataclass(frozen=True)
class RunRecords:
    """Opens the writers of a config, one set for each *scope*: a stage, or a strategy's summary."""

    config: ExperimentConfig  # says which writers
    folder: Path  # of the records, within that of the run
    writes: bool = True  # whether this process is the one that records

    @property
    def wanted(self) -> bool:
        """Whether there are writers at all."""
        return self.writes and bool(self.config.records.writers)

    @contextmanager
    def open(self, scope: str) -> Iterator[RecordWriter]:
        """The writers of a scope, closed in the end.

        What an interrupted run has left of the scope is removed: its steps come again.
        """
        if self.wanted:
            shutil.rmtree(self.folder / scope, ignore_errors=True)
        writer = SeveralWriters(
            [
                spec.build("record_writer", folder=self.folder, scope=scope, run=self.config.name)
                for spec in (self.config.records.writers if self.wanted else ())
            ]
        )
        try:
            writer.config(self.config.to_yaml_dict())
            yield writer
        finally:
            writer.close()

    def losses_hook(self, writer: RecordWriter) -> Callable[[Any], None] | None:
        """The trainer's hook; None if there is nowhere to write to."""
        return RecordLosses(writer, self.config.records.every) if self.wanted else None


def record_finished_task(
    writer: RecordWriter,
    task_number: int,
    matrices: Mapping[str, TaskMatrix],
    memory: Mapping[str, Any] | None,
) -> None:
    """Write the summary after a task, and what the strategy's memory holds."""
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
