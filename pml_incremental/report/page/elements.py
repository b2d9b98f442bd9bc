"""Building blocks of a page. Every text passes through :func:`text`."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.report.text import percent

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
