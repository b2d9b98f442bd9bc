"""Pages from templates, in which every text is escaped, and the cells and pictures on them."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.report.page.charts import COLORS
from pml_incremental.report.style import percent

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
