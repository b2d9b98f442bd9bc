"""Strategies side by side: the numbers, and how they are written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from pml_incremental.metrics import Spread, TaskMatrix
from pml_incremental.report.bare_table import add_number_columns, bare_table
from pml_incremental.report.columns import COMPARED
from pml_incremental.report.text import percent

_HEADINGS = [column.heading for column in COMPARED]
_LATEX = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "\N{EN DASH}": "--"}
)


@dataclass(frozen=True)
class ComparisonTable:
    """A row per strategy, mean and standard deviation over seeds in each column.

    Attributes:
        title: what the numbers are.
        rows: strategy -> a number per column of ``COMPARED``.
    """

    title: str
    rows: Mapping[str, Sequence[Spread]]

    def cells(self) -> dict[str, list[tuple[str, bool]]]:
        """Strategy -> text of each column, and whether it is the best of its column."""
        best = [
            column.are_best([row[place].mean for row in self.rows.values()])
            for place, column in enumerate(COMPARED)
        ]
        return {
            name: list(zip(map(write_spread, row), marks, strict=True))
            for (name, row), *marks in zip(self.rows.items(), *best, strict=True)
        }

    def to_markdown(self) -> str:
        """A table for Markdown, the best of each column in bold."""
        lines = [["strategy", *_HEADINGS], ["---", *(["---:"] * len(_HEADINGS))]]
        for name, cells in self.cells().items():
            lines.append([name, *(f"**{text}**" if bold else text for text, bold in cells)])
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}\n\n{body}\n"

    def to_latex(self) -> str:
        """A ``tabular`` for LaTeX with the package booktabs, the best in bold."""
        lines = [" & ".join(["strategy", *_HEADINGS])]
        for name, cells in self.cells().items():
            words = [
                _tex(name),
                *(_tex(t) if not b else rf"\textbf{{{_tex(t)}}}" for t, b in cells),
            ]
            lines.append(" & ".join(words))
        head, *rows = (rf"{line} \\" for line in lines)
        body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
        columns = "l" + "r" * len(_HEADINGS)
        return f"% {self.title}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"

    def to_csv(self) -> str:
        """Shares in full, two columns for each number; empty where undefined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        numbers = [f"{heading}, {part}" for heading in _HEADINGS for part in ("mean", "std")]
        writer.writerow(["strategy", *numbers])
        for name, row in self.rows.items():
            values = [value for spread in row for value in (spread.mean, spread.std)]
            writer.writerow([name, *("" if math.isnan(value) else value for value in values)])
        return text.getvalue()


def comparison_table(matrices: Mapping[str, Sequence[TaskMatrix]], title: str) -> ComparisonTable:
    """The numbers of each strategy over its seeds.

    At the end of the last task: ``old`` is the mean over the tasks before it, ``new`` the last task
    and ``mean`` that over all tasks; forgetting is in the diagonal convention.

    Args:
        matrices: strategy -> a task matrix per seed.
        title: what the numbers are.

    Returns:
        The table.

    Raises:
        ValueError: if a strategy has no matrix.

    Example:
        >>> matrices = {"l2": [TaskMatrix([[0.1, 0.1], [0.8, 0.1], [0.7, 0.5]])]}
        >>> print(comparison_table(matrices, "Recall@1").to_csv().splitlines()[1][:16])
        l2,0.7,,0.5,,0.6
    """
    for name, found in matrices.items():
        if not found:
            raise ValueError(f"{name} has no matrix: give one for each seed")
    return ComparisonTable(
        title,
        {
            name: [Spread.of(map(column.value, found)) for column in COMPARED]
            for name, found in matrices.items()
        },
    )


def print_comparison(table: ComparisonTable, console: Console | None = None) -> None:
    """Print one line per strategy, the best of each column in bold.

    Args:
        table: what to print.
        console: where to print. Default: the terminal.

    Example:
        >>> table = comparison_table({"l2": [TaskMatrix([[0.1], [0.8]])]}, "Recall@1")
        >>> console = Console(width=80)
        >>> with console.capture() as printed:
        ...     print_comparison(table, console)
        >>> "80.0" in printed.get()
        True
    """
    shown = bare_table(table.title, "strategy")
    add_number_columns(shown, (column.narrow_heading for column in COMPARED))
    for name, cells in table.cells().items():
        shown.add_row(Text(name), *(Text(text, "bold" if best else "") for text, best in cells))
    (console or Console()).print(shown)


def write_spread(spread: Spread) -> str:
    """Percent, with the standard deviation where there is one."""
    mean = percent(spread.mean)
    return mean if math.isnan(spread.std) else f"{mean} ± {percent(spread.std)}"


def _tex(text: str) -> str:
    return text.translate(_LATEX)
