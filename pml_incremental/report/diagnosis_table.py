"""A diagnosis as tables on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pml_incremental.report.bare_table import add_number_columns, bare_table

if TYPE_CHECKING:
    from pml_incremental.experiment.diagnosis.diagnosis_result import Diagnosis, EstimatorSummary

_NUMBERS = ("error\ntrain", "error\ntest", "r\ntrain", "r\ntest", "bytes")


def print_diagnosis(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print a table per strategy with a line per estimator.

    An error is the divergence from the real prior models' similarities, divided by that of the
    teacher itself: below 1 the estimate is nearer than the teacher. r is Pearson's, between
    estimated and real similarities. Both are for the new tasks' training and held-out images. A
    dash stands for what is undefined.

    Args:
        diagnosis: what to print.
        console: where to print. Default: the terminal.

    Example:
        >>> from pml_incremental.experiment.diagnosis import diagnosis_result
        >>> Diagnosis = diagnosis_result.Diagnosis
        >>> EstimationRow = diagnosis_result.EstimationRow
        >>> rows = [EstimationRow("fecd", 3, 1, images, "MLPEstimator", "new", 0.5, 0.9, 0.1, 64)
        ...         for images in ("train", "test")]
        >>> console = Console(width=100)
        >>> with console.capture() as printed:
        ...     print_diagnosis(Diagnosis("demo", 80, 4096, tuple(rows)), console)
        >>> "MLPEstimator" in printed.get()
        True
    """
    console = console or Console()
    for strategy in diagnosis.strategies:
        console.print(_table(diagnosis, strategy), "")
    console.print(
        Text(
            "observed on: the images that the estimator learned from, of the tasks just finished "
            "or new\n"
            "error: divergence from the real prior models, divided by that of the teacher itself\n"
            "bytes: for all prior models of the last task; the models themselves would take "
            f"{diagnosis.model_bytes:,}"
        )
    )


def _table(diagnosis: Diagnosis, strategy: str) -> Table:
    drifts = diagnosis.drift_by_task(strategy, "test")
    listed = ", ".join(f"{drift:.2f} at task {task}" for task, drift in drifts.items())
    title = f"{diagnosis.name}, {strategy}: estimated against real prior models"
    table = bare_table(title, "estimator")
    table.caption = Text(f"features have moved by {listed}")
    table.add_column("observed\non")
    add_number_columns(table, _NUMBERS)
    for summary in diagnosis.summaries():
        if summary.strategy == strategy:
            table.add_row(*map(Text, _cells(summary)))
    return table


def _cells(summary: EstimatorSummary) -> list[str]:
    ratio, correlation = summary.divergence_ratio, summary.correlation
    numbers = (ratio["train"], ratio["test"], correlation["train"], correlation["test"])
    written = ["\N{EN DASH}" if math.isnan(number) else f"{number:.3f}" for number in numbers]
    return [summary.estimator, summary.observed_on, *written, f"{summary.nbytes:,}"]
