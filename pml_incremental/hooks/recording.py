"""Losses and accuracies, written to records while training."""

from __future__ import annotations

from typing import Any

from pml_incremental.records import RecordWriter
from pml_incremental.trainers._terms import loss_value


class RecordLosses:
    """An end-of-iteration hook that records every loss as it entered the total: weighted.

    Draws no random numbers, so training goes as without it.

    Args:
        writer: gets the group ``losses``, step by step; the step is the iteration, counted from 0
            over all epochs.
        every: iterations between two records, at least 1.

    Raises:
        ValueError: if every is below 1.
    """

    def __init__(self, writer: RecordWriter, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1 iteration, got {every}")
        self.writer = writer
        self.every = every

    def __call__(self, trainer: Any) -> None:
        """Record the losses of this iteration, if it is one of those to record."""
        step = trainer.get_global_iteration()
        if step % self.every == 0:
            losses = {name: loss_value(loss) for name, loss in trainer.losses.items()}
            self.writer.scalars("losses", losses, step)


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
