"""Charts as SVG, drawn with the page's colours so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pml_incremental.report.page.elements import text
from pml_incremental.report.style import pareto_front, percent_range
from pml_incremental.report.text import percent

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 12, 34
COLORS = 7
Point = tuple[float, float]


class Axes:
    """A frame from data to pixels, with its grid."""

    def __init__(self, x_range: Point, y_range: Point) -> None:
        self.x_range, self.y_range = x_range, y_range

    def place(self, x: float, y: float) -> Point:
        """Pixels of a point."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    def grid(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
        """Horizontal lines and the numbers on both axes."""
        parts = []
        for y in y_ticks:
            _, down = self.place(self.x_range[0], y)
            parts.append(
                f'<line class=grid x1={LEFT} x2={WIDTH - RIGHT} y1="{down:.1f}" y2="{down:.1f}"/>'
            )
            parts.append(f'<text x={LEFT - 6} y="{down + 4:.1f}" text-anchor=end>{y:g}</text>')
        for x in x_ticks:
            across, _ = self.place(x, self.y_range[0])
            parts.append(f'<text x="{across:.1f}" y={HEIGHT - 18} text-anchor=middle>{x:g}</text>')
        return "".join(parts)


def line_chart(title: str, curves: Mapping[str, Sequence[float]], y_range: Point) -> str:
    """Shares over tasks learned, from before the first; NaN leaves a gap."""
    steps = max(len(curve) for curve in curves.values())
    axes = Axes((0, max(1, steps - 1)), y_range)
    drawn = [_curve(axes, n, name, curve) for n, (name, curve) in enumerate(curves.items())]
    every = max(1, math.ceil(steps / 10))
    return _figure(title, axes.grid(range(0, steps, every), ticks(y_range)), drawn, "tasks learned")


def _curve(axes: Axes, number: int, name: str, curve: Sequence[float]) -> str:
    places = [(i, axes.place(i, 100 * v), v) for i, v in enumerate(curve) if not math.isnan(v)]
    path = " ".join(f"{x:.1f},{y:.1f}" for _, (x, y), _ in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r=4>'
        f"<title>{text(name)}, after {i}: {percent(v)} %</title></circle>"
        for i, (x, y), v in places
    )
    return f'<g class=c{number % COLORS}><polyline points="{path}"/>{dots}</g>'


def scatter(title: str, points: Mapping[str, Point], x_name: str, y_name: str) -> str:
    """Named points, shares on both axes; those that no other beats on both are ringed."""
    known = {n: p for n, p in points.items() if not any(map(math.isnan, p))}
    x_range = percent_range([x for x, _ in known.values()])
    y_range = percent_range([y for _, y in known.values()])
    axes, front = Axes(x_range, y_range), pareto_front(list(known.values()))
    drawn = []
    for number, (name, point) in enumerate(points.items()):
        if name not in known:
            continue
        x, y = axes.place(100 * point[0], 100 * point[1])
        ring = f'<circle class=ring cx="{x:.1f}" cy="{y:.1f}" r=9 />' if point in front else ""
        label = f"{name}: {percent(point[0])} %, {percent(point[1])} %"
        drawn.append(
            f'<g class=c{number % COLORS}>{ring}<circle cx="{x:.1f}" cy="{y:.1f}" r=5>'
            f"<title>{text(label)}</title></circle></g>"
        )
    grid = axes.grid(ticks(x_range), ticks(y_range))
    return _figure(f"{title}: {y_name}", grid, drawn, x_name)


def legend(names: Sequence[str]) -> str:
    """The colour of each name."""
    entries = "".join(
        f"<li class=c{number % COLORS}><i></i>{text(name)}</li>"
        for number, name in enumerate(names)
    )
    return f"<ul class=legend>{entries}</ul>"


def ticks(bounds: Point) -> list[float]:
    """Round numbers from one bound to the other, at most seven."""
    step = next(step for step in (2, 5, 10, 20) if bounds[1] - bounds[0] <= 6 * step)
    return list(range(int(bounds[0]), int(bounds[1]) + 1, step))


def _figure(title: str, grid: str, drawn: Sequence[str], x_name: str) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    axis = f'<text x="{middle}" y="{HEIGHT - 2}" text-anchor=middle>{text(x_name)}</text>'
    return (
        f"<figure><figcaption>{text(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{text(title)}">'
        f"{grid}{axis}{''.join(drawn)}</svg></figure>"
    )
