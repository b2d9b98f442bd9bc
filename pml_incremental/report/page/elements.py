"""Building blocks of a page. Every text passes through :func:`text`."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.report.style import pareto_front, percent, percent_range

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 12, 34
COLORS = 7
Point = tuple[float, float]

STRONG_FROM = 0.75


def text(value: object) -> str:
    """A value as text that HTML shows as it is."""
    return html.escape(str(value))


def document(title: str, about: str, body: str) -> str:
    """A whole page that needs nothing else, neither network nor scripts."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{text(title)} · incremental retrieval</title><style>{style}</style></head>"
        f"<body><main><header><h1>{text(title)}</h1><p>{text(about)}</p></header>"
        f"{body}</main></body></html>\n"
    )


def section(title: str, note: str, *content: str) -> str:
    """A card with a heading, a line that says how to read it, and its content."""
    return (
        f"<section><h2>{text(title)}</h2><p class=note>{text(note)}</p>{''.join(content)}</section>"
    )


def folded(title: str, content: str, is_open: bool = False) -> str:
    """Content that can be folded away."""
    return f"<details{' open' * is_open}><summary>{text(title)}</summary>{content}</details>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls sideways where it does not fit; cells are finished HTML."""
    head = "".join(f"<th scope=col>{text(h)}</th>" for h in headings)
    body = "".join(
        f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    opening = f'<div class=scroll tabindex=0><table class="{kind}">'
    return f"{opening}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def heat_map(
    values: NDArray[np.float64], row_names: Sequence[str], corner: str, framed: int | None = None
) -> str:
    """Shares as a coloured table; ``framed`` is the row in which the first column was learned."""
    headings = [corner, *(str(j + 1) for j in range(values.shape[1]))]
    rows = []
    for i, (name, row) in enumerate(zip(row_names, values.tolist(), strict=True)):
        cells = [_cell(v, framed is not None and i - framed == j) for j, v in enumerate(row)]
        rows.append([text(name), *cells])
    return table(headings, rows, "heat")


def _cell(value: float, framed: bool) -> str:
    if math.isnan(value):
        return "<span></span>"
    classes = " ".join(["strong"] * (value > STRONG_FROM) + ["learned"] * framed)
    return f'<span class="{classes}" style="--v:{value:.3f}">{percent(value)}</span>'


def bar(share: float, written: str) -> str:
    """A number on a bar that is full at 1."""
    return f'<span class=bar style="--v:{min(1, max(0, share)):.3f}">{text(written)}</span>'


def picture(image: Image, title: str, kind: str = "") -> str:
    """An image inside the page."""
    file = BytesIO()
    image.save(file, format="PNG", optimize=True)
    return embedded_png(file.getvalue(), title, kind)


def embedded_png(data: bytes, title: str, kind: str = "") -> str:
    """A PNG file inside the page."""
    code = base64.b64encode(data).decode("ascii")
    return f'<img class="{kind}" alt="{text(title)}" src="data:image/png;base64,{code}">'


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
