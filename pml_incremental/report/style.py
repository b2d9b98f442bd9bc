"""One look for all pictures and numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
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
NOTE = "Description"  # the text of a PNG file that says what is in the picture


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white")


def save_figure(figure: Figure, path: str | Path, note: str = "") -> None:
    """Write the figure in the format that the file's ending names, a PNG file with a note in it."""
    is_png = Path(path).suffix.lower() == ".png"
    metadata = {NOTE: note} if note and is_png else None
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)


def quiet_axes(axes: Axes) -> None:
    """Take away what carries no information: ticks and the box around the plot."""
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def percent_range(shares: Sequence[float]) -> tuple[int, int]:
    """The tens around all values that are known, in percent; 0 to 100 if none is."""
    known = [share for share in shares if not math.isnan(share)]
    if not known:
        return 0, 100
    high = max(10, 10 * math.ceil(10 * max(known) - 1e-6))
    return min(high - 10, 10 * math.floor(10 * min(known))), high


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one equals or beats in both coordinates, from left to right."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def percent(share: float) -> str:
    """A share in percent with one decimal; a dash for NaN."""
    # Adding 0.0 makes 0.0 of -0.0.
    return "\N{EN DASH}" if math.isnan(share) else f"{round(100 * share, 1) + 0.0:.1f}"


def signed_percent(difference: float) -> str:
    """A difference of shares in percentage points, with its sign; a dash for NaN."""
    return f"+{percent(difference)}" if round(difference, 3) > 0 else percent(difference)


def shorten(name: str, length: int) -> str:
    """A name cut to ``length`` columns, with an ellipsis where something is missing.

    Characters of East Asian scripts take two columns.
    """
    if _columns(name) <= length:
        return name
    while _columns(name) >= length:
        name = name[:-1]
    return f"{name.rstrip()}…"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
