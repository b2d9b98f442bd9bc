"""What to measure, and how to search for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.metrics import MatchRanks, RetrievalMetric
from pml_incremental.search import ExactSearch, IndexSearch
from pml_incremental.testers.evaluation import Values
from pml_incremental.testers.recall_calculator import EXCLUDED_QUERIES

CLUSTERING = ("NMI", "AMI")
MEBIBYTE = 2**20


@dataclass(frozen=True)
class RetrievalSearch:
    """Names of metrics and the options of the search.

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
