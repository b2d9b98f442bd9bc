"""One look for all pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PALE = "#222222", "#6b6b6b", "#f0f0f0"
# Okabe & Ito, Color Universal Design, 2008: distinct under the common colour vision deficiencies.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
RIGHT, WRONG = GREEN, VERMILION

DOTS_PER_INCH = 160


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write the figure in the format that the file's ending names."""
    figure.savefig(path, dpi=DOTS_PER_INCH)


def quiet_axes(axes: Axes) -> None:
    """Take away what carries no information: ticks and the box around the plot."""
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
