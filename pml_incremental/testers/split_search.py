"""One search over all splits, from which own- and joint-gallery values are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pml_incremental.metrics import MatchRanks, common_depth
from pml_incremental.search import IndexSearch
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


def search_references(
    search: RetrievalSearch,
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    query: str,
    references: Iterable[str],
) -> Values:
    """Values of a split in some splits, which it may be one of.

    Args:
        search: what to measure and how.
        embedded: split -> embeddings (N, d) and labels (N,).
        query: the split that asks.
        references: the splits that are searched.
    """
    names = query_first(query, references)
    embeddings = torch.cat([embedded[split][0] for split in names])
    labels = torch.cat([embedded[split][1] for split in names])
    queries = range(len(embedded[query][1]))
    gallery = range(0 if query in references else len(queries), len(labels))
    searcher = search.over(embeddings, labels)
    depth = common_depth(search.ranked(), searcher.most_matches(queries, gallery))
    (found,) = searcher.rank_matches(queries, [gallery], [depth])
    inside = slice(gallery.start, gallery.stop)
    return search.values(found, embeddings[inside], labels[inside])


def query_first(query: str, splits: Iterable[str]) -> list[str]:
    """The splits in order, but the query's first.

    Example:
        >>> query_first("b", ["a", "b", "c"])
        ['b', 'a', 'c']
    """
    return [query, *(split for split in splits if split != query)]
