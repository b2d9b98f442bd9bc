"""How wrong estimates of prior models are, over the models' age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pml_incremental.report import style
from pml_incremental.report.results import TEACHER_ITSELF, Diagnosis, EstimatorSummary
from pml_incremental.report.strategies_plot import COLORS, MARKERS
from pml_incremental.report.style import shorten
from pml_incremental.report.tables import add_number_columns, bare_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERS = ("error\ntrain", "error\ntest", "r\ntrain", "r\ntest", "bytes")

#: Estimator -> age -> error.
Lines = Mapping[str, Mapping[int, float]]
NAME_LENGTH = 70


def plot_estimation_error(
    panels: Mapping[str, Mapping[str, Lines]], path: str | Path, title: str = "error of estimates"
) -> None:
    """Draw the error of each estimator over the age of the models it estimates.

    One row of panels per strategy. All panels share their axes; the error's is logarithmic, so an
    error of 0 is not drawn. The line of "teacher itself" is black and dashed.

    Args:
        panels: strategy -> heading of the panel -> estimator -> age -> error, at least 0.
        path: where to write; the ending chooses the format (png, pdf, svg).
        title: above the whole picture, such as what the error is.

    Raises:
        ValueError: if there is no panel, or strategies have different ones.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> lines = {"teacher itself": {1: 0.1, 2: 0.3}, "LinearEstimator": {1: 0.02, 2: 0.08}}
        >>> with TemporaryDirectory() as folder:
        ...     plot_estimation_error({"finetune": {"all": lines}}, f"{folder}/error.png")
    """
    headings = {tuple(of_strategy) for of_strategy in panels.values()}
    if len(headings) != 1 or headings == {()}:
        raise ValueError(f"every strategy must have the same panels, at least one, got {headings}")
    figure, grid = _grid(rows=len(panels), columns=len(next(iter(headings))))
    looks = _looks(panels)
    for row, (strategy, of_strategy) in zip(grid, panels.items(), strict=True):
        for axes, (heading, lines) in zip(row, of_strategy.items(), strict=True):
            _draw(axes, lines, looks)
            axes.set_title(f"\n{heading}", loc="left", color=style.INK, fontsize=9.5)
        # Above the heading of the first panel, free to run on above the next.
        name = f"{shorten(strategy, NAME_LENGTH)}\n{next(iter(of_strategy))}"
        row[0].set_title(name, loc="left", color=style.INK, fontsize=9.5, parse_math=False)
    grid[0][0].set_xticks(sorted(_ages(panels)))
    _finish(figure, grid, title)
    style.save_figure(figure, path)


def _ages(panels: Mapping[str, Mapping[str, Lines]]) -> set[int]:
    return {
        age
        for of_strategy in panels.values()
        for lines in of_strategy.values()
        for errors in lines.values()
        for age in errors
    }


def _looks(panels: Mapping[str, Mapping[str, Lines]]) -> dict[str, dict[str, Any]]:
    """One colour and marker for each estimator, in all panels."""
    names = dict.fromkeys(
        name for of_strategy in panels.values() for lines in of_strategy.values() for name in lines
    )
    names.pop(TEACHER_ITSELF, None)
    colors = [color for color in COLORS if color != style.BLACK]
    looks: dict[str, dict[str, Any]] = {
        name: {"color": colors[i % len(colors)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(names)
    }
    return {TEACHER_ITSELF: {"color": style.BLACK, "marker": "", "linestyle": "--"}, **looks}


def _grid(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    figure = style.new_figure(width=max(4.8, 0.6 + 3.6 * columns), height=1.3 + 2.4 * rows)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return figure, [list(row) for row in grid]


def _draw(axes: Axes, lines: Lines, looks: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for name, errors in lines.items():
        axes.plot(
            list(errors),
            list(errors.values()),
            label=name,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linewidth=1.8,
            zorder=4 if name == TEACHER_ITSELF else 3,
            **looks[name],
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    style.quiet_axes(axes)


def _finish(figure: Figure, grid: Sequence[Sequence[Axes]], title: str) -> None:
    for axes in grid[-1]:
        axes.set_xlabel("age: tasks that the teacher learned since", color=style.FAINT, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", color=style.INK, fontsize=12, parse_math=False)
    shown = {
        name: handle
        for row in grid
        for axes in row
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend = figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        labelcolor=style.INK,
        fontsize=10,
    )
    for name in legend.get_texts():
        name.set_parse_math(False)


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
        >>> from pml_incremental.report.results import Diagnosis, EstimationRow
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
