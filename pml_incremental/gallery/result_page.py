"""The page of a search."""

from __future__ import annotations

from pathlib import Path

from pml_incremental.datasets.image_files import read_rgb
from pml_incremental.gallery.gallery import Gallery
from pml_incremental.gallery.search import SearchResult
from pml_incremental.report.page.elements import document, picture, section, text
from pml_incremental.report.text import percent
from pml_incremental.storage import write_text_whole

PIXELS = 144


def write_result_page(path: Path, gallery: Gallery, result: SearchResult) -> None:
    """Write one HTML file with each query and what it found."""
    rows = "".join(_row(gallery, result, q) for q in range(len(result.queries.ids)))
    note = (
        f"{describe_recall(result)}. Green: of the query's class. Numbers are distances, nearest "
        "first."
    )
    about = f"{len(gallery.vectors)} images, {'; '.join(gallery.history)}"
    write_text_whole(path, document("Search results", about, section("Found", note, rows)))


def describe_recall(result: SearchResult) -> str:
    """Recall@1, and of how many queries: those whose class is in the gallery."""
    asked = len(result.queries.ids)
    if result.unanswerable == asked:
        return f"no Recall@1: the class of none of the {asked} queries is in the gallery"
    known = asked - result.unanswerable
    found = f"Recall@1 {percent(result.recall_at_1)} % of {known} queries"
    if result.unanswerable:
        found += f", without {result.unanswerable} queries whose class is not in the gallery"
    return found


def _row(gallery: Gallery, result: SearchResult, query: int) -> str:
    label = result.queries.labels[query]
    asked = _thumb(result.queries.root / result.queries.ids[query], label, "")
    found = "".join(
        _thumb(
            gallery.files.root / gallery.files.ids[row],
            gallery.files.labels[row],
            "right" if gallery.files.labels[row] == label else "wrong",
            f"{distance:.3f} ",
        )
        for row, distance in zip(
            result.rows[query].tolist(), result.distances[query].tolist(), strict=True
        )
        if row >= 0
    )
    return (
        f"<div class=query><div><h4>query</h4><div class=strip>{asked}</div></div>"
        f"<div class=found><h4>{text(result.queries.ids[query])}</h4>"
        f"<div class=strip>{found}</div></div></div>"
    )


def _thumb(path: Path, label: str, kind: str, before: str = "") -> str:
    shown = f"<i class='thumb {kind}'></i>"
    if path.is_file():
        image = read_rgb(path)
        image.thumbnail((PIXELS, PIXELS))
        shown = picture(image, path.name, f"thumb {kind}")
    return f"<div title='{text(path)}'>{shown}{before}{text(label)}</div>"
