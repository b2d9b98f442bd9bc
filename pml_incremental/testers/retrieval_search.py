"""One search over all splits, from which own- and joint-gallery values are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.metrics import MatchRanks, RetrievalMetric, common_depth
from pml_incremental.search import ExactSearch, IndexSearch
from pml_incremental.testers.recall_calculator import EXCLUDED_QUERIES

CLUSTERING = ("NMI", "AMI")
MEBIBYTE = 2**20
Values = dict[str, float]


@dataclass(frozen=True)
class RetrievalSearch:
    """What to measure, and how to search for it.

    Args:
        metrics: names, see :meth:`pml_incremental.metrics.RetrievalMetric.named`, and ``NMI`` and
            ``AMI``, which cluster each gallery by k-means.
        memory_mb: largest size of the table of scores that is held at once, in MiB.
        index: faiss's factory string for an approximate search; default: exact.
        nprobe: lists that an IVF index looks at.

    Raises:
        ValueError: if a metric is unknown, or memory_mb is below 1.
    """

    metrics: tuple[str, ...]
    memory_mb: int = 512
    index: str | None = None
    nprobe: int | None = None

    def __post_init__(self) -> None:
        self.ranked()
        if self.memory_mb < 1:
            raise ValueError(f"memory_mb must be at least 1, got {self.memory_mb}")
        if self.nprobe is not None and self.index is None:
            raise ValueError("nprobe is for an index: give its factory string as index")

    def ranked(self) -> list[RetrievalMetric]:
        """The metrics that are read off a ranking."""
        return [RetrievalMetric.named(name) for name in self.metrics if name not in CLUSTERING]

    def over(self, embeddings: Tensor, labels: Tensor) -> ExactSearch | IndexSearch:
        """A search over these images."""
        if self.index is None:
            return ExactSearch(embeddings, labels, self.memory_mb * MEBIBYTE)
        return IndexSearch(embeddings, labels, self.index, self.nprobe)

    def values(self, found: MatchRanks, embeddings: Tensor, labels: Tensor) -> Values:
        """All metrics of some queries, and how many were left out.

        Args:
            found: where their same-class items stand.
            embeddings: the gallery, for clustering.
            labels: of the gallery.
        """
        values = {metric.name: metric.mean(found) for metric in self.ranked()}
        clustering = [name for name in self.metrics if name in CLUSTERING]
        if clustering:
            calculator = AccuracyCalculator(include=tuple(clustering), device=embeddings.device)
            numbered = torch.unique(labels, return_inverse=True)[1]
            values.update(calculator.get_accuracy(embeddings, numbered))
        values = {name: float(values[name]) for name in self.metrics}
        return {**values, EXCLUDED_QUERIES: float((~found.answerable).sum())}


@dataclass(frozen=True)
class Found:
    """What one search gave: split -> values, and split -> ranks, for both galleries.

    ``recall_of_index`` is the measured share of nearest items found; 1 for exact search.
    """

    values: dict[str, dict[str, Values]]
    ranks: dict[str, dict[str, MatchRanks]]
    recall_of_index: float


def search_splits(
    search: RetrievalSearch,
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    seen: Collection[str],
    queries: Iterable[str] | None = None,
) -> Found:
    """Search every split in itself and, if it is seen, in all seen splits.

    Args:
        search: what to measure and how.
        embedded: split -> embeddings (N, d) and labels (N,).
        seen: splits of the joint gallery.
        queries: splits that ask; default: all.

    Returns:
        Values and ranks by gallery (``own`` and ``joint``) and split.
    """
    order = [*(s for s in embedded if s in seen), *(s for s in embedded if s not in seen)]
    ends = list(accumulate(len(embedded[split][1]) for split in order))
    rows = {s: range(a, b) for s, a, b in zip(order, [0, *ends], ends, strict=False)}
    joint = range(ends[len(seen) - 1]) if seen else range(0)
    embeddings = torch.cat([embedded[split][0] for split in order])
    labels = torch.cat([embedded[split][1] for split in order])
    searcher, metrics = search.over(embeddings, labels), search.ranked()
    found = Found({"own": {}, "joint": {}}, {"own": {}, "joint": {}}, 1.0)
    for split in embedded if queries is None else queries:
        galleries = {"own": rows[split], **({"joint": joint} if split in seen else {})}
        most = [searcher.most_matches(rows[split], gallery) for gallery in galleries.values()]
        depths = [common_depth(metrics, matches) for matches in most]
        ranked = searcher.rank_matches(rows[split], list(galleries.values()), depths)
        for (name, gallery), ranks in zip(galleries.items(), ranked, strict=True):
            inside = slice(gallery.start, gallery.stop)
            found.ranks[name][split] = ranks
            found.values[name][split] = search.values(ranks, embeddings[inside], labels[inside])
    if isinstance(searcher, IndexSearch):
        gallery = joint or range(len(labels))
        depth = max(1, common_depth(metrics, 1) or 1)
        return Found(found.values, found.ranks, searcher.measured_recall(gallery, depth))
    return found
