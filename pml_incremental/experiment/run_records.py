"""The records of a run, as its config asks for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.config import ExperimentConfig
from pml_incremental.hooks import RecordLosses
from pml_incremental.records import RecordWriter, SeveralWriters


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
