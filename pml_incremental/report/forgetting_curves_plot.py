"""How much is forgotten as tasks are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pml_incremental.metrics import TaskMatrix, forgetting
from pml_incremental.report import style
from pml_incremental.report.task_curves_plot import COLORS, MARKERS

# In inches.
WIDTH, HEIGHT = 6.4, 4.0


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
    figure = style.new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    looks = zip(cycle(COLORS), cycle(MARKERS), strict=False)
    for (name, found), (color, marker) in zip(matrices.items(), looks, strict=False):
        curves = 100 * np.stack([forgetting_curve(matrix) for matrix in found])
        learned = np.arange(1, curves.shape[1] + 1)
        mean = curves.mean(axis=0)
        axes.plot(learned, mean, label=name, color=color, marker=marker, markersize=5)
        if len(curves) > 1:
            spread = curves.std(axis=0, ddof=1)
            axes.fill_between(learned, mean - spread, mean + spread, color=color, alpha=0.15)
        axes.set_xticks(learned)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    axes.set_xlabel("tasks learned", color=style.FAINT, fontsize=9)
    axes.set_ylabel("forgetting (diagonal), in points", color=style.FAINT, fontsize=9)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    style.quiet_axes(axes)
    figure.suptitle(f"Forgetting of {metric_name}", x=0.01, ha="left", color=style.INK, fontsize=12)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=style.INK, fontsize=9)
    style.save_figure(figure, path)


def forgetting_curve(matrix: TaskMatrix) -> NDArray[np.float64]:
    """Forgetting after task 1, 2, ... T, shape (T,); 0 after the first."""
    later = [forgetting(matrix.values[: t + 1, :t]) for t in range(2, matrix.num_tasks + 1)]
    return np.array([0.0, *later])
