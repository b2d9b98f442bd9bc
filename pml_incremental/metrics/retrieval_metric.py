"""Retrieval metrics by the names that configs and records use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pml_incremental.metrics.match_ranks import MatchRanks
from pml_incremental.metrics.rank_metrics import (
    average_precision,
    average_precision_at_r,
    hit_at_k,
    precision_at_k,
    r_precision,
    reciprocal_rank,
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
