"""What queries find in a gallery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pml_incremental.datasets.image_files import read_rgb
from pml_incremental.gallery.gallery import Gallery
from pml_incremental.gallery.image_files import ImageFiles, numbered
from pml_incremental.report.page.elements import document, picture, section, text
from pml_incremental.report.style import percent
from pml_incremental.search import ExactSearch
from pml_incremental.storage import write_text_whole

PIXELS = 144


@dataclass(frozen=True)
class SearchResult:
    """Queries and what they found.

    Attributes:
        queries: the query images.
        rows: rows of the gallery, nearest first, shape (Q, K).
        distances: Euclidean, shape (Q, K).
        recall_at_1: share of the queries whose nearest image is of their class, among those whose
            class is in the gallery; NaN if there are none.
        unanswerable: number of queries whose class is not in the gallery.
    """

    queries: ImageFiles
    rows: Tensor
    distances: Tensor
    recall_at_1: float
    unanswerable: int


def search_gallery(
    gallery: Gallery, queries: ImageFiles, vectors: Tensor, k: int = 5, index: Any = None
) -> SearchResult:
    """Search the gallery for images by their embeddings.

    Args:
        gallery: what is searched.
        queries: the images; the folder that one is in names its class.
        vectors: their embeddings in the space of the gallery, shape (Q, d).
        k: how many images each finds, at most as many as the gallery holds.
        index: a faiss index over the gallery's vectors; default: exact search.

    Raises:
        ValueError: if k is below 1 or the widths differ.
    """
    if vectors.shape[1] != gallery.vectors.shape[1]:
        raise ValueError(
            f"the queries' embeddings have width {vectors.shape[1]} but the gallery's "
            f"{gallery.vectors.shape[1]}: they come from another model"
        )
    k = min(k, len(gallery.vectors))
    rows = _nearest(vectors, gallery.vectors, k) if index is None else _by_index(index, vectors, k)
    distances = (vectors[:, None].double() - gallery.vectors[rows].double()).norm(dim=2)
    asked, there = map(torch.tensor, numbered(queries.labels, gallery.files.labels))
    answerable = torch.isin(asked, there)
    hits = (there[rows[:, 0]] == asked) & (rows[:, 0] >= 0)
    recall = float(hits[answerable].double().mean()) if answerable.any() else math.nan
    return SearchResult(queries, rows, distances, recall, int((~answerable).sum()))


def _nearest(queries: Tensor, vectors: Tensor, k: int) -> Tensor:
    size = len(queries) + len(vectors)
    search = ExactSearch([queries, vectors], torch.zeros(size, dtype=torch.int64))
    asked, there = range(len(queries)), range(len(queries), size)
    return search.nearest(asked, there, k) - len(queries)


def _by_index(index: Any, queries: Tensor, k: int) -> Tensor:
    return torch.as_tensor(index.search(queries.contiguous().numpy(), k)[1])


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
