"""Strategies side by side: the numbers, and how they are written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pml_incremental.metrics import Spread, TaskMatrix
from pml_incremental.report.columns import COMPARED, OF_A_RUN, Column
from pml_incremental.report.results import Result, Update
from pml_incremental.report.style import percent

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
        >>> from pml_incremental.report.results import Result
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


def print_update(update: Update, console: Console | None = None) -> None:
    """Print Recall@1 of the old and the new model, a line for each folder.

    A folder's images are searched in that folder alone, and among the images of all. A dash stands
    for a number that is undefined.

    Args:
        update: what was measured.
        console: where to print. Default: the terminal.

    Example:
        >>> from pathlib import Path
        >>> from pml_incremental.report.results import FolderRecall
        >>> before, after = (FolderRecall({"old": own}, {"old": 0.5}) for own in (0.75, 0.5))
        >>> console = Console(width=100)
        >>> with console.capture() as printed:
        ...     print_update(Update(Path("new.safetensors"), Path("runs"), before, after), console)
        >>> printed.get().splitlines()[-1].split()
        ['old', '75.0', '50.0', '50.0', '50.0']
    """
    table = bare_table(f"{update.file.name}: Recall@1 in %", "images")
    add_number_columns(
        table, ("alone\nbefore", "alone\nafter", "together\nbefore", "together\nafter")
    )
    before, after = update.before, update.after
    columns = (before.own, after.own, before.together, after.together)
    for name in before.own:
        table.add_row(Text(name), *(percent(column[name]) for column in columns))
    (console or Console()).print(table)


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
