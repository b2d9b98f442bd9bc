"""All contact with faiss."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pml_incremental.extras import require
from pml_incremental.search.stacked import Stacked

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

ROWS_AT_ONCE = 2**16
# What faiss's GPU indexes can find for one query.
LARGEST_K_ON_GPU = 2048


def build_index(
    embeddings: Stacked, factory: str, nprobe: int | None = None, memory: int = 2**29
) -> Any:
    """A trained Euclidean index over all rows, from faiss's factory string."""
    faiss = import_faiss()
    size, width = len(embeddings), embeddings.width
    lists = re.search(r"IVF(\d+)", factory)
    if lists is not None and size < int(lists[1]):
        raise ValueError(
            f"an index of {lists[1]} lists ({factory!r}) needs at least so many images, and there "
            f"are {size}: use fewer lists, or leave the index out"
        )
    step = max(1, -(-4 * size * width // memory))
    try:
        index = faiss.index_factory(width, factory)
        if not index.is_trained:
            spread = [part[::step] for part in embeddings.parts]
            index.train(np.concatenate([as_vectors(part) for part in spread]))
        for start in range(0, size, ROWS_AT_ONCE):
            index.add(as_vectors(embeddings[range(start, min(start + ROWS_AT_ONCE, size))]))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"faiss cannot build the index {factory!r}: {reason}") from error
    if nprobe is not None:
        view = faiss.downcast_index(index)  # owns nothing: the index itself must be kept
        if not isinstance(view, faiss.IndexIVF):
            raise ValueError(f"nprobe is for IVF indexes, and {factory!r} is none: leave it out")
        view.nprobe = nprobe
    return index


class SearchedIndex:
    """A faiss index that is searched whole or in a range of its ids."""

    def __init__(self, index: Any, on_gpu: bool = False) -> None:
        self.index = index
        self.copy_on_gpu = _copy_on_gpu(index) if on_gpu else None

    def search(self, queries: Vectors, k: int, ids: range) -> Ids:
        """The k nearest ids within a range, shape (Q, k), -1 where there are no more."""
        if len(ids) < self.index.ntotal:
            return _search_range(self.index, queries, k, ids)
        if self.copy_on_gpu is not None and k <= LARGEST_K_ON_GPU:
            return np.asarray(self.copy_on_gpu.search(queries, k)[1])
        return np.asarray(self.index.search(queries, k)[1])


def _search_range(index: Any, queries: Vectors, k: int, ids: range) -> Ids:
    faiss = import_faiss()
    view = faiss.downcast_index(index)
    selector = faiss.IDSelectorRange(ids.start, ids.stop)
    if isinstance(view, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=view.nprobe)
    elif isinstance(view, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=view.hnsw.efSearch)
    else:
        parameters = faiss.SearchParameters(sel=selector)
    # faiss.contrib.torch_utils, once imported by anyone, hides the search that takes parameters.
    search = getattr(index, "search_numpy", index.search)
    try:
        return np.asarray(search(queries, k, params=parameters)[1])
    except RuntimeError as error:
        raise ValueError(
            f"an index of kind {type(view).__name__} cannot search one task's images alone: use "
            "an IVF, HNSW or Flat index, or search exactly"
        ) from error


def _copy_on_gpu(index: Any) -> Any:
    """A copy on the first GPU; None if faiss sees no GPU, or has no such index there."""
    faiss = import_faiss()
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return None
    try:
        copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError:  # such as HNSW
        return None
    return copy


def as_vectors(rows: Tensor) -> Vectors:
    """Rows as faiss takes them."""
    return np.ascontiguousarray(rows.detach().cpu().float().numpy())


def import_faiss() -> Any:
    """Faiss, or an error that says how to get it."""
    require("faiss", "an index", extra="cpu", or_else="search exactly")
    import faiss

    return faiss
