"""A comparison as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from pml_incremental.report.bare_table import add_number_columns, bare_table
from pml_incremental.report.comparison_table import COLUMNS, ComparisonTable


def print_comparison(table: ComparisonTable, console: Console | None = None) -> None:
    """Print one line per strategy, the best of each column in bold.

    Args:
        table: what to print.
        console: where to print. Default: the terminal.

    Example:
        >>> from pml_incremental.metrics import TaskMatrix
        >>> from pml_incremental.report import comparison_table
        >>> table = comparison_table({"l2": [TaskMatrix([[0.1], [0.8]])]}, "Recall@1")
        >>> console = Console(width=80)
        >>> with console.capture() as printed:
        ...     print_comparison(table, console)
        >>> "80.0" in printed.get()
        True
    """
    shown = bare_table(table.title, "strategy")
    add_number_columns(shown, (heading.replace(" ", "\n") for heading in COLUMNS))
    for name, cells in table.cells().items():
        shown.add_row(Text(name), *(Text(text, "bold" if best else "") for text, best in cells))
    (console or Console()).print(shown)
