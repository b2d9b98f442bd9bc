"""Records in SQLite and CSV files, by PML's record-keeper."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pml_incremental.records.record_writer import check_table_name
from pml_incremental.storage import write_text_whole


class RecordKeeperWriter:
    """A table for each group of numbers, in ``<scope>/logs.db`` and as a CSV file beside it.

    The tables are those of PML's logging presets: a column ``~iteration~`` with the step and one
    for each name. Pictures have no place in tables and are left to the other writers; the config
    becomes ``config.json``.

    Args:
        folder: of all records of the run.
        scope: folder within it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     writer = RecordKeeperWriter(folder, "task_1")
        ...     writer.scalars("losses", {"total_loss": 0.5}, step=10)
        ...     [tuple(row) for row in writer.keeper.query("SELECT * FROM losses")]
        [(1, 10, 0.5)]
    """

    def __init__(self, folder: str | Path, scope: str) -> None:
        from record_keeper import RecordKeeper
        from record_keeper import RecordWriter as Tables

        self._folder = Path(folder) / scope
        self._folder.mkdir(parents=True, exist_ok=True)
        self.keeper = RecordKeeper(record_writer=Tables(str(self._folder)))

    def config(self, values: Mapping[str, Any]) -> None:
        """Write ``config.json``."""
        write_text_whole(self._folder / "config.json", json.dumps(values, indent=2) + "\n")

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a row to the group's table; ValueError if SQL cannot name it."""
        check_table_name(group, f"group {group!r}")
        # record-keeper drops NumPy's floats and bools without a word.
        row = {name: float(value) for name, value in values.items()}
        self.keeper.update_records(row, step, parent_name=group)
        self.keeper.save_records()

    def image(self, name: str, file: Path, step: int) -> None:
        """Nothing: tables hold no pictures."""

    def close(self) -> None:
        """Nothing: every row is written at once."""
