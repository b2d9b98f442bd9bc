"""A run's result as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.bare_table import add_number_columns, bare_table
from pml_incremental.report.text import percent, signed_percent

if TYPE_CHECKING:
    from pml_incremental.experiment.result import Result

OWN, JOINT = "own/recall_at_1", "joint/recall_at_1"


@dataclass(frozen=True)
class Column:
    """A column of the table: which number, how it is written, which is best."""

    heading: str
    metric: str
    value: Callable[[TaskMatrix], float]
    write: Callable[[float], str] = percent
    best: Callable[..., float] = max


COLUMNS = (
    Column("task 1\nat end", OWN, lambda matrix: float(matrix.values[-1, 0])),
    Column("all tasks\nat end", OWN, TaskMatrix.last),
    Column("average\nincremental", OWN, TaskMatrix.average_incremental),
    Column("forgetting", OWN, TaskMatrix.forgetting, best=min),
    Column("forward\ntransfer", OWN, TaskMatrix.forward_transfer, signed_percent),
    Column("joint\nat end", JOINT, TaskMatrix.last),
)


def print_summary(result: Result, console: Console | None = None) -> None:
    """Print one line per strategy: Recall@1 in percent, the best of each column in bold.

    All numbers are for each task's own gallery but the last, where the gallery is that of all
    tasks. Forgetting is in the diagonal convention. A dash stands for a number that is undefined.
    It fits a terminal of 80 columns with strategies' names of up to 16 characters.

    Args:
        result: of a run that measured ``own/recall_at_1`` and ``joint/recall_at_1``.
        console: where to print. Default: the terminal.

    Raises:
        ValueError: if one of the two metrics is missing.

    Example:
        >>> from pathlib import Path
        >>> from pml_incremental.experiment.result import Result
        >>> matrices = {OWN: TaskMatrix([[0.2], [0.9]]), JOINT: TaskMatrix([[0.2], [0.9]])}
        >>> result = Result("demo", Path("runs/demo"), {"finetune": matrices})
        >>> console = Console(width=100)
        >>> with console.capture() as printed:
        ...     print_summary(result, console)
        >>> "finetune" in printed.get()
        True
    """
    table = bare_table(f"{result.name}: Recall@1 in %", "strategy")
    add_number_columns(table, (column.heading for column in COLUMNS))
    written = [_cells(column, result.strategies) for column in COLUMNS]
    for strategy, *cells in zip(result.strategies, *written, strict=True):
        table.add_row(Text(strategy), *cells)
    (console or Console()).print(table)


def _cells(column: Column, strategies: Mapping[str, Mapping[str, TaskMatrix]]) -> list[Text]:
    missing = [name for name, matrices in strategies.items() if column.metric not in matrices]
    if missing:
        raise ValueError(f"{column.metric} was not measured for {missing}: add recall_at_1")
    values = [column.value(matrices[column.metric]) for matrices in strategies.values()]
    written = [column.write(value) for value in values]
    known = [value for value in values if not math.isnan(value)]
    best = column.write(column.best(known)) if len(set(written)) > 1 else None
    return [Text(text, style="bold" if text == best else "") for text in written]
