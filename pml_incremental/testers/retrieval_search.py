"""What to measure, and how to search for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.extras import require
from pml_incremental.metrics import MatchRanks, RetrievalMetric, common_depth
from pml_incremental.search import ExactSearch, IndexSearch, Lookup
from pml_incremental.search.scan import most_matches
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


def search_levels(
    tester: GlobalEmbeddingSpaceTester,
    search: RetrievalSearch,
    embedded: dict[str, tuple[Tensor, Tensor]],
    query: str,
    references: list[str],
) -> tuple[dict[str, float], dict[str, float]]:
    """Values in the reference splits and in the joint gallery, named as PML names them."""
    tester.label_levels = tester.label_levels_to_evaluate(embedded[query][1])
    own: dict[str, float] = {}
    joint: dict[str, float] = {}
    for level in tester.label_levels:
        level_of = {split: (x, y[:, level]) for split, (x, y) in embedded.items()}
        found = search_splits(search, level_of, list(embedded), [query]).values
        in_references = found["own"][query]
        if references != [query]:
            in_references = search_references(search, level_of, query, references)
        for target, values in ((own, in_references), (joint, found["joint"][query])):
            for metric, value in values.items():
                target[tester.accuracies_keyname(metric, label_hierarchy_level=level)] = value
    if len(tester.label_levels) > 1:
        for target in (own, joint):
            tester.calculate_average_accuracies(target, search.metrics, tester.label_levels)
    return own, joint


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
    """Search every split in itself and, if it is seen, in all seen splits."""
    order = [*(s for s in embedded if s in seen), *(s for s in embedded if s not in seen)]
    ends = list(accumulate(len(embedded[split][1]) for split in order))
    rows = {s: range(a, b) for s, a, b in zip(order, [0, *ends], ends, strict=False)}
    joint = range(ends[len(seen) - 1]) if seen else range(0)
    labels = torch.cat([embedded[split][1] for split in order])
    searcher = search.over([embedded[split][0] for split in order], labels)
    asked = [
        (name, split, gallery)
        for split in (embedded if queries is None else queries)
        for name, gallery in (("own", rows[split]), ("joint", joint))
        if name == "own" or split in seen
    ]
    ranked = _look_up(search, searcher, [(rows[split], gallery) for _, split, gallery in asked])
    found = Found({"own": {}, "joint": {}}, {"own": {}, "joint": {}}, 1.0)
    for (name, split, _), ranks in zip(asked, ranked, strict=True):
        items = [embedded[s] for s in ([split] if name == "own" else order[: len(seen)])]
        found.ranks[name][split] = ranks
        found.values[name][split] = search.values(ranks, items)
    if isinstance(searcher, IndexSearch):
        gallery = joint or range(len(labels))
        depth = max(1, common_depth(search.ranked(), 1) or 1)
        return Found(found.values, found.ranks, searcher.measured_recall(gallery, depth))
    return found


def _look_up(
    search: RetrievalSearch,
    searcher: ExactSearch | IndexSearch,
    asked: Iterable[tuple[range, range]],
) -> list[MatchRanks]:
    """Ranks in some galleries, each as deep as the metrics need it."""
    lookups = []
    for queries, gallery in asked:
        depth = common_depth(search.ranked(), most_matches(searcher.labels, queries, gallery))
        lookups.append(Lookup(queries, gallery, depth))
    return searcher.rank_matches(lookups)


def search_references(
    search: RetrievalSearch,
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    query: str,
    references: Collection[str],
) -> Values:
    """Values of a split in some splits, which it may be one of."""
    parts = [embedded[split] for split in query_first(query, references)]
    queries = range(len(parts[0][1]))
    labels = torch.cat([labels for _, labels in parts])
    gallery = range(0 if query in references else len(queries), len(labels))
    searcher = search.over([embeddings for embeddings, _ in parts], labels)
    (found,) = _look_up(search, searcher, [(queries, gallery)])
    return search.values(found, parts if query in references else parts[1:])


def query_first(query: str, splits: Iterable[str]) -> list[str]:
    """The splits in order, but the query's first."""
    return [query, *(split for split in splits if split != query)]
