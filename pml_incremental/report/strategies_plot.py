"""Strategies in one picture: tasks over time, forgetting, and what is kept and learned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pml_incremental.metrics import Spread, TaskMatrix, forgetting, seen_means
from pml_incremental.report import style
from pml_incremental.report.columns import NEW, OLD
from pml_incremental.report.style import percent_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
Curves = Mapping[str, NDArray[np.float64]]

COLORS = (
    style.VERMILION,
    style.BLUE,
    style.GREEN,
    style.PURPLE,
    style.ORANGE,
    style.SKY,
    style.BLACK,
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MAX_COLUMNS = 4
# In inches, on the wide side.
LEGEND_LINE, LEGEND_LETTER = 0.75, 0.09


def plot_task_curves(
    matrices: Mapping[str, TaskMatrix], path: str | Path, metric_name: str = "Recall@1"
) -> None:
    """Draw how each task fares as tasks are learned, all strategies in the same panel.

    One panel per task, and one for the mean over the tasks seen so far. A panel's grey part is the
    time before its task was learned. All panels share their axes.

    Args:
        matrices: strategy -> task matrix, all of the same tasks.
        path: where to write; the ending chooses the format (png, pdf, svg).
        metric_name: what the values are, for the heading.

    Raises:
        ValueError: if there is no matrix or their numbers of tasks differ.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> matrices = {"finetune": TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]])}
        >>> with TemporaryDirectory() as folder:
        ...     plot_task_curves(matrices, f"{folder}/curves.png")
    """
    tasks = _number_of_tasks(matrices)
    figure, panels = _panels(tasks + 1)
    for j, axes in enumerate(panels[:-1]):
        curves = {name: matrix.values[:, j] for name, matrix in matrices.items()}
        _draw(axes, curves, title=f"task {j + 1}", learned=j + 1)
    means = {name: np.append(np.nan, seen_means(m.values)) for name, m in matrices.items()}
    _draw(panels[-1], means, title="mean of the tasks seen", learned=1)
    _set_limits(panels, matrices)
    heading = f"{metric_name}, in %"
    figure.suptitle(heading, x=0.01, ha="left", color=style.INK, fontsize=12, parse_math=False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=_legend_columns(figure, names),
        frameon=False,
        labelcolor=style.INK,
        fontsize=10,
    )
    style.save_figure(figure, path)


def _number_of_tasks(matrices: Mapping[str, TaskMatrix]) -> int:
    tasks = {name: matrix.num_tasks for name, matrix in matrices.items()}
    if len(set(tasks.values())) != 1:
        raise ValueError(f"matrices must hold one or more of the same tasks, got {tasks}")
    return next(iter(tasks.values()))


def _panels(number: int) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(number / MAX_COLUMNS)
    columns = math.ceil(number / rows)
    figure = style.new_figure(width=max(4.5, 0.6 + 2.5 * columns), height=1.1 + 2 * rows)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for unused in grid.flat[number:]:
        unused.remove()
    panels: list[Axes] = list(grid.flat[:number])
    for lowest in panels[-columns:]:
        lowest.set_xlabel("tasks learned", color=style.FAINT, fontsize=9)
    return figure, panels


def _legend_columns(figure: Figure, names: Sequence[str]) -> int:
    widest = LEGEND_LINE + LEGEND_LETTER * max(map(len, names))
    return max(1, int(figure.get_figwidth() / widest))


def _draw(axes: Axes, curves: Curves, title: str, learned: int) -> None:
    for (name, shares), (color, marker) in _looks(curves):
        axes.plot(
            100 * shares,
            label=name,
            color=color,
            marker=marker,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linewidth=1.8,
            clip_on=False,
            zorder=3,
        )
    axes.axvspan(-0.5, learned, color=style.PALE, zorder=0, linewidth=0, label="not learned yet")
    axes.set_title(title, loc="left", color=style.INK, fontsize=10)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    style.quiet_axes(axes)


def _set_limits(panels: Sequence[Axes], matrices: Mapping[str, TaskMatrix]) -> None:
    tasks = len(panels) - 1
    everything = [value for m in matrices.values() for value in m.values.ravel().tolist()]
    panels[0].set_ylim(*percent_range(everything))
    panels[0].set_xlim(-0.5, tasks + 0.3)
    for axes in panels:
        axes.set_xticks(range(tasks + 1))
        axes.tick_params(labelbottom=True)


def plot_forgetting_curves(
    matrices: Mapping[str, Sequence[TaskMatrix]], path: str | Path, metric_name: str = "Recall@1"
) -> None:
    """Draw the forgetting after each task, in the diagonal convention, mean over seeds.

    Bands show the standard deviation over seeds.

    Args:
        matrices: strategy -> a task matrix per seed.
        path: where to write; the ending chooses the format (png, pdf, svg).
        metric_name: what the values are, for the heading.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> matrix = TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]])
        >>> with TemporaryDirectory() as folder:
        ...     plot_forgetting_curves({"finetune": [matrix]}, f"{folder}/forgetting.png")
    """
    figure, axes = _one_panel(4.0, f"Forgetting of {metric_name}", grid="y")
    axes.set_xlabel("tasks learned", color=style.FAINT, fontsize=9)
    axes.set_ylabel("forgetting (diagonal), in points", color=style.FAINT, fontsize=9)
    for (name, found), (color, marker) in _looks(matrices):
        curves = 100 * np.stack([forgetting_curve(matrix) for matrix in found])
        learned = np.arange(1, curves.shape[1] + 1)
        mean = curves.mean(axis=0)
        axes.plot(learned, mean, label=name, color=color, marker=marker, markersize=5)
        if len(curves) > 1:
            spread = curves.std(axis=0, ddof=1)
            axes.fill_between(learned, mean - spread, mean + spread, color=color, alpha=0.15)
        axes.set_xticks(learned)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=style.INK, fontsize=9)
    style.save_figure(figure, path)


def forgetting_curve(matrix: TaskMatrix) -> NDArray[np.float64]:
    """Forgetting after task 1, 2, ... T, shape (T,); 0 after the first."""
    later = [forgetting(matrix.values[: t + 1, :t]) for t in range(2, matrix.num_tasks + 1)]
    return np.array([0.0, *later])


def plot_pareto(
    matrices: Mapping[str, Sequence[TaskMatrix]], path: str | Path, metric_name: str = "Recall@1"
) -> None:
    """Draw each strategy at its values on the new and the old tasks, after the last one.

    Bars show the standard deviation over seeds. A grey line joins the strategies that no other one
    beats on both.

    Args:
        matrices: strategy -> a task matrix per seed, of at least two tasks.
        path: where to write; the ending chooses the format (png, pdf, svg).
        metric_name: what the values are, for the heading.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> matrix = TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]])
        >>> with TemporaryDirectory() as folder:
        ...     plot_pareto({"finetune": [matrix]}, f"{folder}/pareto.png")
    """
    figure, axes = _one_panel(4.8, f"{metric_name}, in %", grid="both")
    axes.set_xlabel("new: the last task", color=style.FAINT, fontsize=9)
    axes.set_ylabel("old: the tasks before it, mean", color=style.FAINT, fontsize=9)
    points = {
        name: tuple(Spread.of(map(column.value, found)) for column in (NEW, OLD))
        for name, found in matrices.items()
    }
    _draw_front(axes, [(new.mean, old.mean) for new, old in points.values()])
    for (name, (new, old)), (color, marker) in _looks(points):
        axes.errorbar(
            100 * new.mean,
            100 * old.mean,
            xerr=100 * np.nan_to_num(new.std),
            yerr=100 * np.nan_to_num(old.std),
            color=color,
            marker=marker,
            markersize=7,
            markeredgecolor="white",
            linestyle="none",
            elinewidth=1.2,
            capsize=2,
            label=name,
            zorder=3,
        )
    figure.legend(
        loc="outside right upper", frameon=False, labelcolor=style.INK, fontsize=9, numpoints=1
    )
    style.save_figure(figure, path)


def _draw_front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    front = style.pareto_front(points)
    axes.plot(
        [100 * new for new, _ in front],
        [100 * old for _, old in front],
        color=style.FAINT,
        linewidth=1,
        linestyle=":",
        zorder=1,
    )


def _one_panel(height: float, heading: str, grid: Literal["y", "both"]) -> tuple[Figure, Axes]:
    """A picture of a single panel, so many inches high."""
    figure = style.new_figure(6.4, height)
    figure.set_layout_engine("constrained")
    figure.suptitle(heading, x=0.01, ha="left", color=style.INK, fontsize=12, parse_math=False)
    axes = figure.add_subplot()
    axes.grid(axis=grid, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    style.quiet_axes(axes)
    return figure, axes


def _looks(strategies: Mapping[str, T]) -> Iterator[tuple[tuple[str, T], tuple[str, str]]]:
    """Each strategy with a colour and a marker."""
    return zip(strategies.items(), zip(cycle(COLORS), cycle(MARKERS)), strict=False)
