"""Pages from templates, in which every text is escaped; the cells, pictures and charts on them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.report.style import pareto_front, percent, percent_range

FRAME = SimpleNamespace(width=360, height=220, left=34, right=348, top=12, bottom=186)
COLORS = 7
Point = tuple[float, float]

STRONG_FROM = 0.75


def render(template: str, **values: Any) -> str:
    """A whole page that needs nothing else, neither network nor scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["png"] = png
    environment.globals["colors"] = COLORS
    return environment.get_template(template).render(**values)


def png(image: Image) -> str:
    """An image as a PNG file in base64."""
    file = BytesIO()
    image.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def heat_map(
    values: NDArray[np.float64], row_names: Sequence[str], corner: str, framed: int | None = None
) -> dict[str, Any]:
    """Shares as a coloured table; ``framed`` is the row in which the first column was learned."""
    headings = [corner, *(str(j + 1) for j in range(values.shape[1]))]
    rows = []
    for i, (name, row) in enumerate(zip(row_names, values.tolist(), strict=True)):
        cells = [_cell(v, framed is not None and i - framed == j) for j, v in enumerate(row)]
        rows.append([name, *cells])
    return {"headings": headings, "rows": rows}


def _cell(value: float, framed: bool) -> Markup:
    if math.isnan(value):
        return Markup("<span></span>")
    classes = " ".join(["strong"] * (value > STRONG_FROM) + ["learned"] * framed)
    cell = Markup('<span class="{}" style="--v:{:.3f}">{}</span>')
    return cell.format(classes, value, percent(value))


def bar(share: float, written: str) -> Markup:
    """A number on a bar that is full at 1."""
    filled = min(1, max(0, share))
    return Markup('<span class=bar style="--v:{:.3f}">{}</span>').format(filled, written)


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
