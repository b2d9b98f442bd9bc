"""Embeddings of all images, and what one evaluation of them gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.distributed import Processes
from pml_incremental.distributed.processes import receive_rows, send_rows, share_of_loader
from pml_incremental.metrics import MatchRanks, RetrievalMetric
from pml_incremental.search.tensors import mapped_tensor
from pml_incremental.testers.recall_calculator import EXCLUDED_QUERIES

Values = dict[str, float]
ByMetric = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Retrieval metrics of one model on several splits, with the embeddings they come from.

    Attributes:
        own: metric -> split -> value in [0, 1]; the gallery is the query's own split.
        joint: metric -> split -> value in [0, 1]; the gallery is all seen splits. NaN for a split
            that is not seen.
        excluded_queries: gallery ("own" or "joint") -> split -> number of queries without any
            same-class item to be found, which the metrics leave out. A split that is not seen has
            no entry under "joint".
        embeddings: split -> what was searched, shape (N, d), on the CPU.
        labels: split -> labels in the same order, shape (N,), on the CPU.
        ranks: gallery -> split -> where each query's same-class items stand; empty if another
            calculator than the tester's own was used.
        recall_of_index: share of the nearest items that the search found, measured on a sample; 1
            for an exact search.
    """

    own: ByMetric
    joint: ByMetric
    excluded_queries: dict[str, dict[str, int]]
    embeddings: dict[str, Tensor]
    labels: dict[str, Tensor]
    ranks: dict[str, dict[str, MatchRanks]] = field(default_factory=dict)
    recall_of_index: float = 1.0

    def without_images(self) -> Evaluation:
        """The values alone, which are few."""
        return replace(self, embeddings={}, labels={}, ranks={})

    def per_query(self, metric: str, gallery: str, split: str) -> Tensor:
        """One value per query of a split, shape (N,); NaN where nothing could be found.

        Args:
            metric: as ``recall_at_1``, among those that the search went deep enough for.
            gallery: ``own`` or ``joint``.
            split: one that has that gallery.

        Raises:
            KeyError: if the split was not searched in that gallery.
        """
        found = self.ranks[gallery][split]
        values = RetrievalMetric.named(metric).per_query(found).cpu()
        return torch.where(found.answerable.cpu(), values, math.nan)

    def per_class(self, metric: str, gallery: str, split: str) -> dict[int, float]:
        """Mean over the queries of each class, NaN where nothing could be found.

        Arguments as for :meth:`per_query`.
        """
        values, labels = self.per_query(metric, gallery, split), self.labels[split]
        return {int(label): float(values[labels == label].nanmean()) for label in labels.unique()}


def evaluation_of(
    own: Mapping[str, Values],
    joint: Mapping[str, Values],
    metrics: Iterable[str],
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    **searched: Any,
) -> Evaluation:
    """An evaluation from the values of each split."""
    names = [metric for metric in metrics if metric != EXCLUDED_QUERIES]
    return Evaluation(
        own=_by_metric(own, names, embedded),
        joint=_by_metric(joint, names, embedded),
        excluded_queries={"own": _excluded_queries(own), "joint": _excluded_queries(joint)},
        embeddings={split: x.cpu() for split, (x, _) in embedded.items()},
        labels={split: y.cpu() for split, (_, y) in embedded.items()},
        **searched,
    )


def _by_metric(
    values: Mapping[str, Values], metrics: Iterable[str], splits: Iterable[str]
) -> ByMetric:
    """From split -> metric -> value to metric -> split -> value, NaN where a split is missing."""
    return {
        metric: {split: values.get(split, {}).get(metric, math.nan) for split in splits}
        for metric in metrics
    }


def _excluded_queries(values: Mapping[str, Values]) -> dict[str, int]:
    """Number of excluded queries of each split, where they were counted."""
    return {
        split: int(found[EXCLUDED_QUERIES])
        for split, found in values.items()
        if EXCLUDED_QUERIES in found
    }


@torch.no_grad()
def embed_all(
    loader: DataLoader[Any],
    embed: Callable[[Any], tuple[Tensor, Tensor]],
    processes: Processes,
    folder: str | None,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, d) and labels (N, levels) of all images, in order."""
    own = share_of_loader(loader, processes)
    images: Any = (loader if processes.is_rank_zero else own).dataset
    embeddings, labels = RowsByBatch(len(images), folder), RowsByBatch(len(images))
    for batch in tqdm(own, desc="embedding", disable=not progress):
        for rows, found in zip((embeddings, labels), embed(batch), strict=True):
            rows.add(found)
    for rows in (embeddings, labels):
        if not processes.is_rank_zero and rows.filled:
            send_rows(rows.rows())
        elif processes.is_distributed and processes.is_rank_zero:
            for block in receive_rows(rows.rows(), loader, processes):
                rows.add(block)
    if not processes.is_rank_zero:
        return torch.empty(0, 0), torch.empty(0, 0)
    return embeddings.rows(), labels.rows()


class RowsByBatch:
    """One tensor for all rows, on the device of the batches or in a file."""

    def __init__(self, size: int, folder: str | None = None) -> None:
        self.size, self.folder = size, folder
        self.filled = 0
        self._rows: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        """Add some rows, shape (B, d)."""
        if self._rows is None:
            shape = self.size, batch.shape[1]
            if self.folder is None:
                self._rows = torch.empty(shape, dtype=batch.dtype, device=batch.device)
            else:
                self._rows = mapped_tensor(self.folder, *shape, batch.dtype)
        self._rows[self.filled : self.filled + len(batch)] = batch
        self.filled += len(batch)

    def rows(self) -> Tensor:
        """All rows added, in order; at least one batch must have been."""
        assert self._rows is not None
        return self._rows[: self.filled]
