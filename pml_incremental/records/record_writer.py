"""What records are written through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol


class RecordWriter(Protocol):
    """Where numbers and pictures of one *scope* go: a task, or the summary over tasks.

    A writer of one's own has these methods and takes any of the arguments ``folder`` (of all
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
