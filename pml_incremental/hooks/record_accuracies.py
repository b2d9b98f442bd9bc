"""What a PML tester measured."""

from __future__ import annotations

from typing import Any

from pml_incremental.records import RecordWriter


class RecordAccuracies:
    """An end-of-testing hook that records every split's metrics; the step is the epoch.

    Args:
        writer: gets a group ``test_<split>`` for each split.
    """

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer

    def __call__(self, tester: Any) -> None:
        """Record what the tester measured."""
        for split, accuracies in tester.all_accuracies.items():
            values = {name: value for name, value in accuracies.items() if name != "epoch"}
            self.writer.scalars(f"test_{split}", values, int(accuracies["epoch"]))
