"""Several record writers as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pml_incremental.records.record_writer import RecordWriter


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
