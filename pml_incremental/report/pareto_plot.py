"""What is kept against what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pml_incremental.metrics import Spread, TaskMatrix
from pml_incremental.report import style
from pml_incremental.report.columns import NEW, OLD
from pml_incremental.report.style import pareto_front
from pml_incremental.report.task_curves_plot import COLORS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In inches.
WIDTH, HEIGHT = 6.4, 4.8


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
    figure = style.new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    points = {
        name: tuple(Spread.of(map(column.value, found)) for column in (NEW, OLD))
        for name, found in matrices.items()
    }
    _draw_front(axes, [(new.mean, old.mean) for new, old in points.values()])
    looks = zip(cycle(COLORS), cycle(MARKERS), strict=False)
    for (name, (new, old)), (color, marker) in zip(points.items(), looks, strict=False):
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
    axes.set_xlabel("new: the last task", color=style.FAINT, fontsize=9)
    axes.set_ylabel("old: the tasks before it, mean", color=style.FAINT, fontsize=9)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    style.quiet_axes(axes)
    figure.suptitle(
        f"{metric_name}, in %", x=0.01, ha="left", color=style.INK, fontsize=12, parse_math=False
    )
    figure.legend(
        loc="outside right upper", frameon=False, labelcolor=style.INK, fontsize=9, numpoints=1
    )
    style.save_figure(figure, path)


def _draw_front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    front = pareto_front(points)
    axes.plot(
        [100 * new for new, _ in front],
        [100 * old for _, old in front],
        color=style.FAINT,
        linewidth=1,
        linestyle=":",
        zorder=1,
    )
