"""The places of each query's same-class items in its ranking, and the metrics that follow."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Stands for a same-class item beyond the depth of the search.
NOT_FOUND = 2**62


@dataclass(frozen=True)
class MatchRanks:
    """The places of the same-class items in the rankings of some queries.

    Attributes:
        ranks: places from 1, ascending, shape (Q, M), int64; ``NOT_FOUND`` where a query has fewer
            same-class items, or where they are beyond ``depth``.
        matches: number of same-class items in the gallery, the query itself left out, shape (Q,).
        gallery_size: number of items ranked for each query, the query itself left out.
        depth: how many places were looked at; ``gallery_size`` for whole rankings.

    Example:
        >>> hits = torch.tensor([[False, True, True]])
        >>> found = match_ranks(hits, matches=torch.tensor([2]), gallery_size=9)
        >>> found.ranks.tolist(), found.depth
        ([[2, 3]], 3)
    """

    ranks: Tensor
    matches: Tensor
    gallery_size: int
    depth: int

    def __len__(self) -> int:
        return len(self.matches)

    @property
    def answerable(self) -> Tensor:
        """Queries with anything to be found, shape (Q,), bool."""
        return self.matches > 0

    def select(self, queries: Tensor) -> MatchRanks:
        """The ranks of some queries only, given as a mask or as indices."""
        return MatchRanks(self.ranks[queries], self.matches[queries], self.gallery_size, self.depth)


def match_ranks(hits: Tensor, matches: Tensor, gallery_size: int) -> MatchRanks:
    """Ranks read off which of the nearest items are of the query's class.

    Args:
        hits: nearest first and without the query itself, shape (Q, K), bool.
        matches: number of same-class items in the gallery, shape (Q,).
        gallery_size: number of items in the gallery, the query itself left out.

    Returns:
        Ranks up to K.
    """
    depth = hits.shape[1]
    places = torch.arange(1, depth + 1, device=hits.device)
    ranks = torch.where(hits, places, NOT_FOUND).sort(dim=1).values
    return MatchRanks(trim(ranks), matches, gallery_size, depth)


def trim(ranks: Tensor) -> Tensor:
    """Without the columns on the right that hold ``NOT_FOUND`` alone."""
    used = (ranks != NOT_FOUND).any(dim=0).sum() if ranks.numel() else 0
    return ranks[:, : int(used)]


def concatenate(parts: list[MatchRanks]) -> MatchRanks:
    """The ranks of several groups of queries in galleries of one size, one after another."""
    width = max(part.ranks.shape[1] for part in parts)
    rows = [
        torch.nn.functional.pad(part.ranks, (0, width - part.ranks.shape[1]), value=NOT_FOUND)
        for part in parts
    ]
    matches = torch.cat([part.matches for part in parts])
    return MatchRanks(torch.cat(rows), matches, parts[0].gallery_size, parts[0].depth)


def hit_at_k(found: MatchRanks, k: int) -> Tensor:
    r"""Whether a same-class item is among the K nearest; Recall@K is the mean over queries.

    .. math:: r_q = [\, \min_p \mathrm{rank}(p) \le K \,]

    Source: Oh Song et al., CVPR 2016 (its use in metric learning).

    Args:
        found: ranks of Q queries.
        k: K >= 1; at most the depth of the search, unless that is the whole gallery.

    Returns:
        0 or 1, shape (Q,), float64. A query with nothing to be found gets 0: leave it out of means.

    Raises:
        ValueError: if k is below 1 or beyond the depth.

    Example:
        >>> from pml_incremental.metrics import match_ranks
        >>> hits = torch.tensor([[False, True, True], [True, False, False]])
        >>> found = match_ranks(hits, matches=torch.tensor([2, 2]), gallery_size=5)
        >>> hit_at_k(found, 1).tolist(), hit_at_k(found, 2).tolist()
        ([0.0, 1.0], [1.0, 1.0])
    """
    _check_k(found, k)
    return (found.ranks <= k).any(dim=1).double()


def precision_at_k(found: MatchRanks, k: int) -> Tensor:
    r"""Share of same-class items among the K nearest.

    .. math:: \frac{1}{\min(K, G)} \#\{p : \mathrm{rank}(p) \le K\}

    Args:
        found: ranks of Q queries in a gallery of G items.
        k: K >= 1, see :func:`hit_at_k`.

    Returns:
        Shares in [0, 1], shape (Q,), float64; 0 in an empty gallery.

    Raises:
        ValueError: if k is below 1 or beyond the depth.
    """
    _check_k(found, k)
    return (found.ranks <= k).sum(dim=1).double() / max(1, min(k, found.gallery_size))


def average_precision(found: MatchRanks) -> Tensor:
    r"""Mean of the precisions at the places of all R same-class items.

    .. math:: \frac{1}{R} \sum_{i=1}^{R} \frac{i}{\mathrm{rank}_i}

    Args:
        found: ranks of Q queries, over the whole gallery.

    Returns:
        Shares in [0, 1], shape (Q,), float64; 0 for a query with nothing to be found.

    Raises:
        ValueError: if the search did not look at the whole gallery.
    """
    _check_whole("average_precision", found)
    return _precision_sum(found, found.ranks != NOT_FOUND) / found.matches.clamp(min=1)


def average_precision_at_r(found: MatchRanks) -> Tensor:
    r"""Mean of the precisions at the places of the same-class items among the R nearest.

    .. math:: \frac{1}{R} \sum_{i : \mathrm{rank}_i \le R} \frac{i}{\mathrm{rank}_i}

    Source: Musgrave, Belongie, Lim, ECCV 2020 (MAP@R).

    Args:
        found: ranks of Q queries, at least to the largest R, their number of same-class items.

    Returns:
        Shares in [0, 1], shape (Q,), float64; 0 for a query with nothing to be found.

    Raises:
        ValueError: if the search was too shallow.
    """
    _check_r(found)
    return _precision_sum(found, found.ranks <= found.matches[:, None]) / found.matches.clamp(min=1)


def r_precision(found: MatchRanks) -> Tensor:
    """Share of same-class items among the R nearest, R being their number in the gallery.

    Args:
        found: ranks of Q queries, at least to the largest R.

    Returns:
        Shares in [0, 1], shape (Q,), float64; 0 for a query with nothing to be found.

    Raises:
        ValueError: if the search was too shallow.
    """
    _check_r(found)
    hits = (found.ranks <= found.matches[:, None]).sum(dim=1)
    return hits.double() / found.matches.clamp(min=1)


def reciprocal_rank(found: MatchRanks) -> Tensor:
    """One over the place of the nearest same-class item.

    Args:
        found: ranks of Q queries, over the whole gallery.

    Returns:
        Values in [0, 1], shape (Q,), float64; 0 for a query with nothing to be found.

    Raises:
        ValueError: if the search did not look at the whole gallery.
    """
    _check_whole("reciprocal_rank", found)
    if found.ranks.shape[1] == 0:
        return torch.zeros(len(found), dtype=torch.float64, device=found.ranks.device)
    first = found.ranks[:, 0]
    return torch.where(first == NOT_FOUND, 0.0, 1.0 / first.double())


def _precision_sum(found: MatchRanks, counted: Tensor) -> Tensor:
    order = torch.arange(1, found.ranks.shape[1] + 1, device=found.ranks.device)
    return torch.where(counted, order / found.ranks.double(), 0.0).sum(dim=1)


def _check_k(found: MatchRanks, k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k > found.depth < found.gallery_size:
        raise ValueError(f"k = {k} is beyond the {found.depth} places looked at: search deeper")


def _check_whole(name: str, found: MatchRanks) -> None:
    if found.depth < found.gallery_size:
        raise ValueError(
            f"{name} needs the whole ranking of {found.gallery_size} items, but {found.depth} "
            "places were looked at: search with depth None"
        )


def _check_r(found: MatchRanks) -> None:
    largest = int(found.matches.max()) if len(found) else 0
    if largest > found.depth:
        raise ValueError(
            f"a query has {largest} same-class items, but {found.depth} places were looked at: "
            "search at least as deep"
        )


_AT_K = {"recall": hit_at_k, "precision": precision_at_k}


_OTHERS: dict[str, tuple[Callable[[MatchRanks], Tensor], Callable[[int], int | None]]] = {
    "mean_average_precision_at_r": (average_precision_at_r, lambda matches: matches),
    "r_precision": (r_precision, lambda matches: matches),
    "mean_average_precision": (average_precision, lambda _: None),
    "mean_reciprocal_rank": (reciprocal_rank, lambda _: None),
}


@dataclass(frozen=True)
class RetrievalMetric:
    """A metric that is a mean over queries.

    Attributes:
        name: as in configs and records.
        per_query: from ranks to one value per query, shape (Q,).
        depth: from the largest number of same-class items that a query has to the number of places
            the search must look at; None for all.
    """

    name: str
    per_query: Callable[[MatchRanks], Tensor]
    depth: Callable[[int], int | None]

    @classmethod
    def named(cls, name: str) -> RetrievalMetric:
        """The metric of a name: ``recall_at_K``, ``precision_at_K``, ``r_precision``,
        ``mean_average_precision_at_r``, ``mean_average_precision`` or ``mean_reciprocal_rank``.

        Raises:
            ValueError: if there is no such metric.

        Example:
            >>> RetrievalMetric.named("recall_at_4").depth(100)
            4
        """
        at_k = re.fullmatch(r"(recall|precision)_at_([1-9]\d*)", name)
        if at_k is not None:
            function, k = _AT_K[at_k[1]], int(at_k[2])
            return cls(name, lambda found: function(found, k), lambda _: k)
        if name not in _OTHERS:
            known = ", ".join(["recall_at_K", "precision_at_K", *_OTHERS])
            raise ValueError(f"there is no retrieval metric {name!r}; there are {known}")
        return cls(name, *_OTHERS[name])

    def mean(self, found: MatchRanks) -> float:
        """Mean over the queries with anything to be found; NaN if there are none."""
        answerable = found.select(found.answerable)
        return float(self.per_query(answerable).mean()) if len(answerable) else math.nan


def common_depth(metrics: list[RetrievalMetric], most_matches: int) -> int | None:
    """The places that the most demanding of some metrics needs; None for all.

    Example:
        >>> names = ("recall_at_8", "mean_average_precision_at_r")
        >>> common_depth([RetrievalMetric.named(name) for name in names], most_matches=20)
        20
    """
    depths = [metric.depth(most_matches) for metric in metrics]
    return None if None in depths else max((d for d in depths if d is not None), default=0)
