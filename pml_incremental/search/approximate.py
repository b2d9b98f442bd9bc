"""Search through a faiss index, with its recall measured against exact search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pml_incremental.extras import require
from pml_incremental.metrics.rank_metrics import MatchRanks, match_ranks
from pml_incremental.search.exact import GIBIBYTE, ExactSearch
from pml_incremental.search.scan import ClassMembers, Lookup
from pml_incremental.search.tensors import Stacked

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

ROWS_AT_ONCE = 2**16
# What faiss's GPU indexes can find for one query.
LARGEST_K_ON_GPU = 2048

SAMPLE = 1000
ROWS = 8192


class IndexSearch:
    """Rankings from one faiss index over all images; galleries are ranges of its ids.

    Args:
        embeddings: shape (N, d), or several such tensors, one below the other; the index holds
            float32.
        labels: shape (N,), integers of any size.
        factory: faiss's description of the index, such as ``"IVF1024,Flat"`` or ``"HNSW32"``.
        nprobe: lists that an IVF index looks at; None for faiss's default of 1.
        memory: bytes to work with besides the index, which is trained on no more of the rows.
        device: on a CUDA device whole galleries are searched there, if faiss was built for it and
            has that kind of index there. Default: where the embeddings are.

    Raises:
        ValueError: if faiss is missing or refuses the factory, or the lengths differ.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> search = IndexSearch(points, torch.tensor([0, 0, 1, 1]), "Flat")
        >>> search.nearest(range(4), range(4), 1).tolist(), search.measured_recall(range(4), 2)
        ([[1], [2], [1], [2]], 1.0)
    """

    def __init__(
        self,
        embeddings: Tensor | Sequence[Tensor],
        labels: Tensor,
        factory: str,
        nprobe: int | None = None,
        memory: int = GIBIBYTE // 2,
        device: torch.device | str | None = None,
    ) -> None:
        self.embeddings = Stacked([embeddings] if isinstance(embeddings, Tensor) else embeddings)
        if len(self.embeddings) != len(labels):
            raise ValueError(f"{len(self.embeddings)} embeddings have {len(labels)} labels")
        self.labels, self.factory, self.memory = labels.cpu(), factory, memory
        device = self.embeddings.device if device is None else torch.device(device)
        built = build_index(self.embeddings, factory, nprobe, memory)
        self.index = SearchedIndex(built, on_gpu=device.type == "cuda")

    def rank_matches(self, lookups: Sequence[Lookup]) -> list[MatchRanks]:
        """As :meth:`ExactSearch.rank_matches`, as far as the index finds the items.

        Raises:
            ValueError: if a depth is None: an index cannot rank the whole gallery.
        """
        ranked = []
        for lookup in lookups:
            queries, gallery, depth = lookup.queries, lookup.gallery, lookup.depth
            if depth is None:
                raise ValueError(
                    f"index {self.factory!r} cannot rank the whole gallery: leave out "
                    "mean_average_precision and mean_reciprocal_rank, or search exactly"
                )
            found = self.nearest(queries, gallery, depth)
            asked = self.labels[queries.start : queries.stop, None]
            hits = (self.labels[found.clamp(min=0)] == asked) & (found >= 0)
            matches = ClassMembers(self.labels, gallery).number_of_matches(queries)
            ranked.append(match_ranks(hits, matches, lookup.available))
        return ranked

    def nearest(self, queries: range, gallery: range, k: int) -> Tensor:
        """The rows that the index finds nearest, shape (Q, min(k, available)); -1 where none."""
        lookup = Lookup(queries, gallery, k)
        lookup.check(len(self.labels))
        k = min(k, lookup.available)
        if k == 0:
            return torch.empty(len(queries), 0, dtype=torch.int64)
        blocks = [queries[start : start + ROWS] for start in range(0, len(queries), ROWS)]
        return torch.cat([self._nearest(torch.tensor(block), gallery, k) for block in blocks])

    def measured_recall(self, gallery: range, k: int, sample: int = SAMPLE) -> float:
        """Share of the k nearest items that the index finds, for queries spread over a gallery."""
        places = np.linspace(0, len(gallery), min(sample, len(gallery)), endpoint=False)
        rows = torch.from_numpy(places.astype(np.int64)) + gallery.start
        k = min(k, len(gallery) - 1)
        if k == 0:
            return 1.0
        found, truth = self._nearest(rows, gallery, k), self._truly_nearest(rows, gallery, k)
        shared = (found[:, :, None] == truth[:, None, :]).sum(dim=(1, 2))
        return float(shared.double().mean() / k)

    def _nearest(self, rows: Tensor, gallery: range, k: int) -> Tensor:
        found = self.index.search(as_vectors(self.embeddings[rows]), k + 1, gallery)
        return _without(torch.from_numpy(found), rows)[:, :k]

    def _truly_nearest(self, rows: Tensor, gallery: range, k: int) -> Tensor:
        size, parts = len(rows), [self.embeddings[rows], *self.embeddings.parts]
        exact = ExactSearch(parts, torch.zeros(size + len(self.labels)), self.memory)
        shifted = range(gallery.start + size, gallery.stop + size)
        found = exact.nearest(range(size), shifted, k + 1).cpu() - size
        return _without(found, rows)[:, :k]


def _without(found: Tensor, themselves: Tensor) -> Tensor:
    """Each query taken out of what it found, the others moved up."""
    own = found == themselves[:, None]
    order = own.to(torch.int8).argsort(dim=1, stable=True)
    return found.masked_fill(own, -1).gather(1, order)


def build_index(
    embeddings: Stacked, factory: str, nprobe: int | None = None, memory: int = 2**29
) -> Any:
    """A trained Euclidean index over all rows, from faiss's factory string."""
    faiss = import_faiss()
    size, width = len(embeddings), embeddings.width
    lists = re.search(r"IVF(\d+)", factory)
    if lists is not None and size < int(lists[1]):
        raise ValueError(
            f"an index of {lists[1]} lists ({factory!r}) needs at least as many images, but there "
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
