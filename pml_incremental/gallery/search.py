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
from pml_incremental.report.page.elements import png, render
from pml_incremental.report.style import percent
from pml_incremental.search import ExactSearch
from pml_incremental.storage import write_text_whole
from pml_incremental.wording import counted

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
        hits: 1 where the nearest image is of the query's class and 0 where it is not; NaN where no
            image of the gallery is. Shape (Q,), float64.
    """

    queries: ImageFiles
    rows: Tensor
    distances: Tensor
    recall_at_1: float
    unanswerable: int
    hits: Tensor


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
    if k < 1:
        raise ValueError(f"k must be at least 1 image, got {k}")
    if vectors.ndim != 2 or len(vectors) != len(queries.ids):
        raise ValueError(
            f"{len(queries.ids)} queries need a row of vectors each, got shape "
            f"{tuple(vectors.shape)}"
        )
    if vectors.shape[1] != gallery.vectors.shape[1]:
        raise ValueError(
            f"the queries' embeddings have width {vectors.shape[1]} but the gallery's "
            f"{gallery.vectors.shape[1]}: they come from another model"
        )
    k = min(k, len(gallery.vectors))
    rows = _nearest(vectors, gallery.vectors, k) if index is None else _by_index(index, vectors, k)
    distances = (vectors[:, None].double() - gallery.vectors[rows].double()).norm(dim=2)
    distances[rows < 0] = math.inf
    asked, there = map(torch.tensor, numbered(queries.labels, gallery.files.labels))
    has_class = torch.tensor([label != "" for label in queries.labels])
    answerable = torch.isin(asked, there) & has_class
    hits = ((there[rows[:, 0]] == asked) & (rows[:, 0] >= 0)).double()
    hits[~answerable] = math.nan
    recall = float(hits[answerable].mean()) if answerable.any() else math.nan
    return SearchResult(queries, rows, distances, recall, int((~answerable).sum()), hits)


def _nearest(queries: Tensor, vectors: Tensor, k: int) -> Tensor:
    size = len(queries) + len(vectors)
    search = ExactSearch([queries, vectors], torch.zeros(size, dtype=torch.int64))
    asked, there = range(len(queries)), range(len(queries), size)
    return search.nearest(asked, there, k) - len(queries)


def _by_index(index: Any, queries: Tensor, k: int) -> Tensor:
    return torch.as_tensor(index.search(queries.contiguous().numpy(), k)[1])


def write_result_page(path: Path, gallery: Gallery, result: SearchResult) -> None:
    """Write one HTML file with each query and what it found."""
    page = render(
        "search.html",
        title="Search results",
        about=f"{counted(len(gallery.vectors), 'image')}, {'; '.join(gallery.history)}",
        recall=describe_recall(result),
        queries=[_found_by(gallery, result, query) for query in range(len(result.queries.ids))],
    )
    write_text_whole(path, page)


def describe_recall(result: SearchResult) -> str:
    """Recall@1, and of how many queries: those whose class is in the gallery."""
    asked = len(result.queries.ids)
    if not any(result.queries.labels):
        return f"Recall@1 not measured: {counted(asked, 'query')}, in no folder that names a class"
    if result.unanswerable == asked:
        said = counted(asked, "query")
        return f"Recall@1 not measured: {said}, of no class that is in the gallery"
    known = asked - result.unanswerable
    found = f"Recall@1 {percent(result.recall_at_1)} % of {counted(known, 'query')}"
    if result.unanswerable:
        found += (
            f", without {counted(result.unanswerable, 'query')} whose class is not in the gallery"
        )
    return found


def _found_by(gallery: Gallery, result: SearchResult, query: int) -> dict[str, Any]:
    name, label = result.queries.ids[query], result.queries.labels[query]
    nearest = zip(result.rows[query].tolist(), result.distances[query].tolist(), strict=True)
    judged = {True: "right", False: "wrong"} if label else {}
    found = [
        _thumb(
            None if gallery.files.root is None else gallery.files.path(row),
            judged.get(gallery.files.labels[row] == label, ""),
            f"{distance:.3f} {gallery.files.labels[row]}",
        )
        for row, distance in nearest
        if row >= 0
    ]
    return {"name": name, "asked": _thumb(result.queries.path(query), "", label), "found": found}


def _thumb(path: Path | None, kind: str, caption: str) -> dict[str, Any]:
    code = None
    if path is not None and path.is_file():
        image = read_rgb(path)
        image.thumbnail((PIXELS, PIXELS))
        code = png(image)
    return {"path": path or "", "kind": kind, "caption": caption, "png": code}
