"""A run's result as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.bare_table import add_number_columns, bare_table
from pml_incremental.report.columns import OF_A_RUN, Column

if TYPE_CHECKING:
    from pml_incremental.experiment.running.result import Result


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
        >>> from pml_incremental.experiment.running.result import Result
        >>> metrics = ("own/recall_at_1", "joint/recall_at_1")
        >>> matrices = {metric: TaskMatrix([[0.2], [0.9]]) for metric in metrics}
        >>> result = Result("demo", Path("runs/demo"), {"finetune": matrices})
        >>> console = Console(width=100)
        >>> with console.capture() as printed:
        ...     print_summary(result, console)
        >>> "finetune" in printed.get()
        True
    """
    table = bare_table(f"{result.name}: Recall@1 in %", "strategy")
    add_number_columns(table, (column.narrow_heading for column in OF_A_RUN))
    cells = [_cells(column, result.strategies) for column in OF_A_RUN]
    for strategy, *of_strategy in zip(result.strategies, *cells, strict=True):
        table.add_row(Text(strategy), *of_strategy)
    (console or Console()).print(table)


def _cells(column: Column, strategies: Mapping[str, Mapping[str, TaskMatrix]]) -> list[Text]:
    missing = [name for name, matrices in strategies.items() if column.metric not in matrices]
    if missing:
        raise ValueError(f"{column.metric} was not measured for {missing}: add recall_at_1")
    values = [column.value(matrices[column.metric]) for matrices in strategies.values()]
    return [
        Text(column.write(value), style="bold" if best else "")
        for value, best in zip(values, column.are_best(values), strict=True)
    ]
