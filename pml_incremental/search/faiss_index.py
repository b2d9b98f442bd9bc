"""All contact with faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


def build_index(vectors: Vectors, factory: str, nprobe: int | None = None) -> Any:
    """A trained Euclidean index over all vectors, from faiss's factory string.

    Args:
        vectors: shape (N, d).
        factory: such as ``"IVF1024,Flat"``.
        nprobe: lists that an IVF index looks at; None for faiss's default of 1.

    Raises:
        ValueError: if faiss is not installed, does not know the factory, or cannot train the index
            on so few vectors, or nprobe is given for an index without lists.
    """
    faiss = import_faiss()
    try:
        index = faiss.index_factory(vectors.shape[1], factory)
        index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"faiss cannot build the index {factory!r}: {reason}") from error
    if nprobe is not None:
        view = faiss.downcast_index(index)  # owns nothing: the index itself must be kept
        if not isinstance(view, faiss.IndexIVF):
            raise ValueError(f"nprobe is for IVF indexes, and {factory!r} is none: leave it out")
        view.nprobe = nprobe
    return index


def selected_search(index: Any, queries: Vectors, k: int, ids: range, size: int) -> Ids:
    """The k nearest ids within a range, shape (Q, k), -1 where there are no more.

    Raises:
        ValueError: if the kind of index cannot search a part of its ids.
    """
    faiss = import_faiss()
    if len(ids) == size:
        return np.asarray(index.search(queries, k)[1])
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


def import_faiss() -> Any:
    """Faiss, or an error that says how to get it."""
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            "an index needs faiss: pip install 'pml-incremental[cpu]', or search exactly"
        ) from error
    return faiss
