"""The task matrix as a heat map."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.columns import AVERAGE, FORGETTING, MEAN
from pml_incremental.report.style import FAINT, INK, new_figure, percent, quiet_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Light to dark blue: ordered by lightness alone, so safe for any colour vision.
COLOR_MAP = "Blues"
LIGHT_TEXT_FROM = 0.68


def plot_task_matrix(matrix: TaskMatrix, path: str | Path, title: str = "") -> None:
    """Draw the matrix, a row per model and a column per task, in percent.

    The cells of the tasks just learned are framed, what was not measured is blank, and the colours
    always run from 0 to 100 %, so that pictures can be compared.

    Args:
        matrix: what to draw.
        path: where to write; the ending chooses the format (png, pdf, svg).
        title: the heading.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     plot_task_matrix(TaskMatrix([[0.2], [0.9]]), f"{folder}/matrix.png", "Recall@1")
    """
    values, names = _measured_rows(matrix)
    rows, tasks = values.shape
    figure = new_figure(width=max(4.9, 1.4 + 0.72 * tasks), height=1.5 + 0.46 * rows)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.pcolormesh(values, cmap=COLOR_MAP, vmin=0, vmax=1, edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    _write_cells(axes, values)
    _frame_learned(axes, first_row=rows - tasks, tasks=tasks)
    axes.set_xticks(np.arange(tasks) + 0.5, [str(j) for j in range(1, tasks + 1)])
    axes.set_yticks(np.arange(rows) + 0.5, names)
    axes.set_xlabel("tested on task", color=FAINT, fontsize=9)
    axes.set_ylabel("after learning", color=FAINT, fontsize=9)
    quiet_axes(axes)
    axes.set_title(_numbers(matrix), loc="left", color=FAINT, fontsize=8.5)
    figure.suptitle(title, x=0.02, ha="left", color=INK, fontsize=11, parse_math=False)
    save_figure(figure, path)


def _measured_rows(matrix: TaskMatrix) -> tuple[NDArray[np.float64], list[str]]:
    """Values and names of the rows; without that of the untrained model if it was not measured."""
    first = int(np.isnan(matrix.values[0]).all())
    return matrix.values[first:], matrix.row_names[first:]


def _write_cells(axes: Axes, values: NDArray[np.float64]) -> None:
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            if not math.isnan(value):
                color = "white" if value > LIGHT_TEXT_FROM else INK
                place = (j + 0.5, i + 0.5)
                axes.text(*place, percent(value), ha="center", va="center", color=color, fontsize=9)


def _frame_learned(axes: Axes, first_row: int, tasks: int) -> None:
    from matplotlib.patches import Rectangle

    for j in range(tasks):
        corner = (j + 0.04, first_row + j + 0.05)
        axes.add_patch(Rectangle(corner, 0.92, 0.9, fill=False, edgecolor=INK, linewidth=1.2))


def _numbers(matrix: TaskMatrix) -> str:
    shown = [(column, column.value(matrix)) for column in (MEAN, AVERAGE, FORGETTING)]
    return "   ".join(f"{c.heading} {c.write(v)}" for c, v in shown if not math.isnan(v))
