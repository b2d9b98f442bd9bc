"""One search over all splits, from which own- and joint-gallery values are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pml_incremental.metrics import MatchRanks, common_depth
from pml_incremental.search import ExactSearch, IndexSearch, Lookup
from pml_incremental.search.class_members import most_matches
from pml_incremental.testers.evaluation import Values
from pml_incremental.testers.retrieval_search import RetrievalSearch


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
