"""Strategies side by side: the numbers, and how they are written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pml_incremental.metrics import Spread, TaskMatrix
from pml_incremental.report.text import percent

#: Heading -> number of a matrix, and whether the largest or the smallest is best.
COLUMNS: Mapping[str, tuple[Callable[[TaskMatrix], float], Callable[[list[float]], float]]] = {
    "old": (lambda matrix: old_tasks_mean(matrix), max),
    "new": (lambda matrix: float(matrix.values[-1, -1]), max),
    "mean": (TaskMatrix.last, max),
    "average incremental": (TaskMatrix.average_incremental, max),
    "forgetting (diagonal)": (TaskMatrix.forgetting, min),
}
_LATEX = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "\N{EN DASH}": "--"}
)


@dataclass(frozen=True)
class ComparisonTable:
    """A row per strategy, mean and standard deviation over seeds in each column.

    Attributes:
        title: what the numbers are.
        rows: strategy -> a number per column of ``COLUMNS``.
    """

    title: str
    rows: Mapping[str, Sequence[Spread]]

    def cells(self) -> dict[str, list[tuple[str, bool]]]:
        """Strategy -> text of each column, and whether it is the best of its column."""
        best = [
            _best([row[column].mean for row in self.rows.values()], choose)
            for column, (_, choose) in enumerate(COLUMNS.values())
        ]
        return {
            name: [
                (write_spread(spread), percent(spread.mean) == limit)
                for spread, limit in zip(row, best, strict=True)
            ]
            for name, row in self.rows.items()
        }

    def to_markdown(self) -> str:
        """A table for Markdown, the best of each column in bold."""
        lines = [["strategy", *COLUMNS], ["---", *(["---:"] * len(COLUMNS))]]
        for name, cells in self.cells().items():
            lines.append([name, *(f"**{text}**" if bold else text for text, bold in cells)])
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}\n\n{body}\n"

    def to_latex(self) -> str:
        """A ``tabular`` for LaTeX with the package booktabs, the best in bold."""
        lines = [" & ".join(["strategy", *COLUMNS])]
        for name, cells in self.cells().items():
            words = [
                _tex(name),
                *(_tex(t) if not b else rf"\textbf{{{_tex(t)}}}" for t, b in cells),
            ]
            lines.append(" & ".join(words))
        head, *rows = (rf"{line} \\" for line in lines)
        body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
        columns = "l" + "r" * len(COLUMNS)
        return f"% {self.title}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"

    def to_csv(self) -> str:
        """Shares in full, two columns for each number; empty where undefined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        numbers = [f"{heading}, {part}" for heading in COLUMNS for part in ("mean", "std")]
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
            name: [Spread.of(number(matrix) for matrix in found) for number, _ in COLUMNS.values()]
            for name, found in matrices.items()
        },
    )


def old_tasks_mean(matrix: TaskMatrix) -> float:
    """Mean over all tasks but the last at the end; NaN if there is only one.

    Example:
        >>> old_tasks_mean(TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]]))
        0.6
    """
    old = matrix.values[-1, :-1]
    return float(old.mean()) if len(old) else math.nan


def write_spread(spread: Spread) -> str:
    """Percent, with the standard deviation where there is one.

    Example:
        >>> write_spread(Spread(0.724, 0.011)), write_spread(Spread(0.724, float("nan")))
        ('72.4 ± 1.1', '72.4')
    """
    mean = percent(spread.mean)
    return mean if math.isnan(spread.std) else f"{mean} ± {percent(spread.std)}"


def _best(means: list[float], choose: Callable[[list[float]], float]) -> str | None:
    """How the best of several is written; None if all are written alike."""
    known = [mean for mean in means if not math.isnan(mean)]
    return percent(choose(known)) if len({percent(mean) for mean in known}) > 1 else None


def _tex(text: str) -> str:
    return text.translate(_LATEX)
