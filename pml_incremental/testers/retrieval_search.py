"""What to measure, and how to search for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.extras import require
from pml_incremental.metrics import MatchRanks, RetrievalMetric
from pml_incremental.search import ExactSearch, IndexSearch
from pml_incremental.testers.evaluation import Values
from pml_incremental.testers.recall_calculator import EXCLUDED_QUERIES

CLUSTERING = ("NMI", "AMI")
MEBIBYTE = 2**20


@dataclass(frozen=True)
class RetrievalSearch:
    """Names of metrics and the options of the search."""

    metrics: tuple[str, ...]
    memory_mb: int = 512  # what the search may take beside the embeddings, in MiB
    index: str | None = None  # faiss's factory string for an approximate search; default: exact
    nprobe: int | None = None  # lists that an IVF index looks at
    device: torch.device | None = None  # where to search; default: where the embeddings are

    def __post_init__(self) -> None:
        self.ranked()
        if set(self.metrics) & set(CLUSTERING):
            what = "clustering, for NMI and AMI,"
            require("faiss", what, extra="cpu", or_else="leave them out of the metrics")
        if self.memory_mb < 1:
            raise ValueError(f"memory_mb must be at least 1, got {self.memory_mb}")
        if self.nprobe is not None and self.index is None:
            raise ValueError("nprobe is for an index: give its factory string as index")

    def ranked(self) -> list[RetrievalMetric]:
        """The metrics that are read off a ranking."""
        return [RetrievalMetric.named(name) for name in self.metrics if name not in CLUSTERING]

    def over(self, embeddings: Sequence[Tensor], labels: Tensor) -> ExactSearch | IndexSearch:
        """A search over some images, whose embeddings may be in several tensors."""
        memory = self.memory_mb * MEBIBYTE
        if self.index is None:
            return ExactSearch(embeddings, labels, memory, self.device)
        return IndexSearch(embeddings, labels, self.index, self.nprobe, memory, self.device)

    def values(self, found: MatchRanks, gallery: Sequence[tuple[Tensor, Tensor]]) -> Values:
        """All metrics of some queries, and how many were left out."""
        values = {metric.name: metric.mean(found) for metric in self.ranked()}
        clustering = [name for name in self.metrics if name in CLUSTERING]
        if clustering:
            embeddings, labels = (torch.cat(parts) for parts in zip(*gallery, strict=True))
            calculator = AccuracyCalculator(include=tuple(clustering), device=embeddings.device)
            numbered = torch.unique(labels, return_inverse=True)[1]
            values.update(calculator.get_accuracy(embeddings, numbered))
        values = {name: float(values[name]) for name in self.metrics}
        return {**values, EXCLUDED_QUERIES: float((~found.answerable).sum())}
