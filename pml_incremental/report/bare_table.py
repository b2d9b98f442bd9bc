"""The form that tables on the terminal share."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text


def bare_table(title: str, rows: str) -> Table:
    """A table without rows, whose first column names them."""
    table = Table(
        title=Text(title),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(rows, overflow="fold")
    return table


def add_number_columns(table: Table, headings: Iterable[str]) -> None:
    """Add columns of numbers to a table."""
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
