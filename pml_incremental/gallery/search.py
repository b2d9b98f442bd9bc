"""What queries find in a gallery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pml_incremental.gallery.gallery import Gallery
from pml_incremental.gallery.image_files import ImageFiles, numbered
from pml_incremental.search import ExactSearch


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
