"""Where the lines and points of a page's charts are; the page draws them in its own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pml_incremental.report.style import pareto_front, percent, percent_range

FRAME = SimpleNamespace(width=360, height=220, left=34, right=348, top=12, bottom=186)
COLORS = 7
Point = tuple[float, float]


class Axes:
    """A frame from data to pixels."""

    def __init__(self, x_range: Point, y_range: Point) -> None:
        self.x_range, self.y_range = x_range, y_range

    def place(self, x: float, y: float) -> Point:
        """Pixels of a point."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        across = FRAME.left + (x - x0) / (x1 - x0) * (FRAME.right - FRAME.left)
        down = FRAME.bottom - (y - y0) / (y1 - y0) * (FRAME.bottom - FRAME.top)
        return round(across, 1), round(down, 1)

    def chart(
        self, title: str, x_name: str, x_ticks: Sequence[float], marks: Sequence[Any]
    ) -> dict[str, Any]:
        """All that the template draws."""
        x_low, y_low = self.x_range[0], self.y_range[0]
        return {
            "title": title,
            "x_name": x_name,
            "frame": FRAME,
            "x_ticks": [(self.place(x, y_low)[0], f"{x:g}") for x in x_ticks],
            "y_ticks": [(self.place(x_low, y)[1], f"{y:g}") for y in ticks(self.y_range)],
            "marks": marks,
        }


def line_chart(title: str, curves: Mapping[str, Sequence[float]], y_range: Point) -> dict[str, Any]:
    """Shares over tasks learned, from before the first; NaN leaves a gap."""
    steps = max(len(curve) for curve in curves.values())
    axes = Axes((0, max(1, steps - 1)), y_range)
    marks = [
        {
            "number": number,
            "is_line": True,
            "dots": [
                _dot(axes.place(step, 100 * value), f"{name}, after {step}: {percent(value)} %")
                for step, value in enumerate(curve)
                if not math.isnan(value)
            ],
        }
        for number, (name, curve) in enumerate(curves.items())
    ]
    every = max(1, math.ceil(steps / 10))
    return axes.chart(title, "tasks learned", range(0, steps, every), marks)


def scatter(title: str, points: Mapping[str, Point], x_name: str, y_name: str) -> dict[str, Any]:
    """Named points, shares on both axes; those that no other beats on both are ringed."""
    known = {n: p for n, p in points.items() if not any(map(math.isnan, p))}
    x_range = percent_range([x for x, _ in known.values()])
    y_range = percent_range([y for _, y in known.values()])
    axes, front = Axes(x_range, y_range), pareto_front(list(known.values()))
    marks = []
    for number, name in enumerate(points):
        if name in known:
            x, y = known[name]
            title_of_dot = f"{name}: {percent(x)} %, {percent(y)} %"
            dot = _dot(axes.place(100 * x, 100 * y), title_of_dot, known[name] in front)
            marks.append({"number": number, "is_line": False, "dots": [dot]})
    return axes.chart(f"{title}: {y_name}", x_name, ticks(x_range), marks)


def ticks(bounds: Point) -> list[float]:
    """Round numbers from one bound to the other, at most seven."""
    step = next(step for step in (2, 5, 10, 20) if bounds[1] - bounds[0] <= 6 * step)
    return list(range(int(bounds[0]), int(bounds[1]) + 1, step))


def _dot(place: Point, title: str, is_ringed: bool = False) -> dict[str, Any]:
    return {"x": place[0], "y": place[1], "title": title, "is_ringed": is_ringed}
