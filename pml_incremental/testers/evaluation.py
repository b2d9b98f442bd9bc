"""What one evaluation of a model gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pml_incremental.testers.recall_calculator import EXCLUDED_QUERIES

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
    """

    own: ByMetric
    joint: ByMetric
    excluded_queries: dict[str, dict[str, int]]
    embeddings: dict[str, Tensor]
    labels: dict[str, Tensor]


def by_metric(
    accuracies: Mapping[str, Mapping[str, float]], metrics: Iterable[str], splits: Iterable[str]
) -> ByMetric:
    """From split -> metric -> value to metric -> split -> value, NaN where a split is missing."""
    return {
        metric: {split: accuracies.get(split, {}).get(metric, math.nan) for split in splits}
        for metric in metrics
        if metric != EXCLUDED_QUERIES
    }


def excluded_queries(accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """Number of excluded queries of each split, where they were counted."""
    return {
        split: int(found[EXCLUDED_QUERIES])
        for split, found in accuracies.items()
        if EXCLUDED_QUERIES in found
    }
