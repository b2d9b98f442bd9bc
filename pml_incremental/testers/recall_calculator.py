"""PML's AccuracyCalculator with Recall@K."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import (
    AccuracyCalculator,
    maybe_get_avg_of_avgs,
    nan_accuracy,
)
from pytorch_metric_learning.utils.inference import CustomKNN, FaissKNN
from torch import Tensor

from pml_incremental.metrics import recall_at_k
from pml_incremental.signatures import WholeSignature

# PML compares labels as float32, which holds no larger range of whole numbers.
LARGEST_LABEL = 2**24

NAMED_ROWS = 5

ROWS_AT_ONCE = 8192


EXCLUDED_QUERIES = "excluded_queries"
QUERIES_PER_SEARCH = 1024


class RecallCalculator(AccuracyCalculator):
    """Recall@K beside PML's retrieval metrics, from one search.

    Recall@K is the share of queries with a same-class item among their K nearest; the query itself
    is no item of its gallery. Queries without any same-class item are left out of every metric and
    counted as ``excluded_queries``. If nothing is left, the metrics are NaN.

    Args:
        ks: the K of each ``recall_at_K``.
        include: names of the metrics to compute, any of PML's too (``"precision_at_1"``, ...).
            Default: ``recall_at_K`` for all ks, ``mean_average_precision_at_r``,
            ``mean_average_precision`` and ``excluded_queries``.
        exclude: names to leave out.
        k: how many neighbours to search: a number, ``"max_bin_count"`` (enough for mAP@R, and for
            ks) or None, the whole gallery, which ``mean_average_precision`` needs to be exact and
            which takes memory for all pairs. Never more than the gallery holds.
        knn_func: a PML search. Default: FaissKNN, or an exact CustomKNN where faiss is missing.
        device: where to search. Default: CUDA if there is any, else the CPU.
        **kwargs: ``avg_of_avgs``, ``return_per_class`` and the others of PML's.

    Raises:
        ValueError: if ks is empty or holds a number below 1, if k is smaller than one of them, or
            a metric is unknown; when called, if labels exceed 2^24, embeddings are not finite or
            there are no queries or gallery items.

    Example:
        >>> calculator = RecallCalculator(ks=(1, 2), include=("recall_at_1", "recall_at_2"))
        >>> points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
        >>> calculator.get_accuracy(points, torch.tensor([0, 0, 1, 1]))
        {'recall_at_1': 0.5, 'recall_at_2': 0.75}
    """

    __signature__ = WholeSignature()

    def __init__(
        self,
        ks: Sequence[int] = (1, 2, 4, 8),
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        k: int | Literal["max_bin_count"] | None = None,
        knn_func: Callable[..., tuple[Tensor, Tensor]] | None = None,
        device: torch.device | str | None = None,
        **kwargs: Any,
    ) -> None:
        self.ks = _check_ks(ks, k)
        # PML finds its metrics by the names of the attributes.
        for recall_k in self.ks:
            setattr(self, f"calculate_recall_at_{recall_k}", partial(self._recall, recall_k))
        super().__init__(
            include=tuple(include) or self.default_metrics(),
            exclude=tuple(exclude),
            k=k,
            knn_func=default_knn() if knn_func is None else knn_func,
            device=None if device is None else torch.device(device),
            **kwargs,
        )

    def recall_metrics(self) -> tuple[str, ...]:
        """Names of the Recall@K metrics."""
        return tuple(f"recall_at_{k}" for k in self.ks)

    def default_metrics(self) -> tuple[str, ...]:
        """Names of the metrics computed when none are asked for."""
        precision = ("mean_average_precision_at_r", "mean_average_precision")
        return (*self.recall_metrics(), *precision, EXCLUDED_QUERIES)

    def requires_knn(self) -> list[str]:
        """Names of the metrics that need the search."""
        ours = [*self.recall_metrics(), EXCLUDED_QUERIES]
        # PML's own list lacks this one.
        return [*super().requires_knn(), "mean_reciprocal_rank", *ours]

    def determine_k(
        self, bin_counts: Tensor, num_reference_embeddings: int, ref_includes_query: bool
    ) -> int:
        """How many neighbours to search: enough for ks, but no more than there are."""
        wanted: int = super().determine_k(bin_counts, num_reference_embeddings, ref_includes_query)
        # faiss fills up with index -1, which would read as the last item of the gallery.
        return min(max(wanted, *self.ks), num_reference_embeddings - int(ref_includes_query))

    def calculate_excluded_queries(self, not_lone_query_mask: Tensor, **_: Any) -> float:
        """Number of queries without any same-class item."""
        return float((~not_lone_query_mask).sum())

    def get_accuracy(
        self,
        query: Any,
        query_labels: Any,
        reference: Any = None,
        reference_labels: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As PML's, after checking what PML would get wrong without a word."""
        named = [("the queries", query, query_labels)]
        if reference is not None:
            named.append(("the gallery", reference, reference_labels))
        for name, embeddings, labels in named:
            if len(embeddings) == 0:
                raise ValueError(f"the embeddings of {name} are empty: pass at least one")
            check_finite(name, embeddings)
            check_labels(f"the labels of {name}", labels)
        accuracy: dict[str, Any] = super().get_accuracy(
            query, query_labels, reference, reference_labels, *args, **kwargs
        )
        return accuracy

    def _recall(
        self,
        k: int,
        knn_labels: Tensor,
        query_labels: Tensor,
        not_lone_query_mask: Tensor,
        label_counts: tuple[Tensor, Tensor],
        **_: Any,
    ) -> Any:
        if not not_lone_query_mask.any():
            return nan_accuracy(label_counts[0], self.return_per_class)
        labels = query_labels[not_lone_query_mask]
        hits = recall_at_k(knn_labels[not_lone_query_mask], labels, k, self.label_comparison_fn)
        return maybe_get_avg_of_avgs(hits, labels[:, None], self.avg_of_avgs, self.return_per_class)


def default_knn() -> FaissKNN | CustomKNN:
    """An exact Euclidean search: by faiss where it is installed, else by torch."""
    if importlib.util.find_spec("faiss") is not None:
        return FaissKNN()
    return CustomKNN(LpDistance(normalize_embeddings=False), batch_size=QUERIES_PER_SEARCH)


def _check_ks(ks: Sequence[int], k: object) -> tuple[int, ...]:
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must hold whole numbers from 1, got {tuple(ks)}")
    if isinstance(k, int) and k < max(ks):
        raise ValueError(
            f"k = {k} neighbours cannot give Recall@{max(ks)}: raise k or drop it from ks"
        )
    return tuple(ks)


def check_finite(name: str, embeddings: Any, dataset: Any = None) -> None:
    """Raise if a row of ``embeddings`` holds NaN or infinity, naming the first such images."""
    chunks = torch.as_tensor(embeddings).split(ROWS_AT_ONCE)
    finite = torch.cat([torch.isfinite(chunk).all(dim=1) for chunk in chunks])
    rows = torch.nonzero(~finite).flatten().tolist()
    if rows:
        first = ", ".join(map(str, rows[:NAMED_ROWS])) + (", ..." if len(rows) > NAMED_ROWS else "")
        raise ValueError(
            f"{len(rows)} of {len(finite)} embeddings of {name} are not finite (rows {first}): "
            f"look for a diverged model or for images with such values{_images(dataset, rows)}"
        )


def check_labels(name: str, labels: Any) -> None:
    """Raise if ``labels`` hold numbers that PML cannot tell from their neighbours."""
    largest = int(np.abs(np.asarray(torch.as_tensor(labels).cpu())).max(initial=0))
    if largest > LARGEST_LABEL:
        raise ValueError(
            f"{name} go up to {largest}, but are compared as float32, where labels above "
            f"{LARGEST_LABEL} (2^24) merge: number the classes from 0, for example with "
            "numpy.unique(labels, return_inverse=True)"
        )


def check_splits(name: str, splits: Collection[str], datasets: Mapping[str, Any]) -> None:
    """Raise unless there are datasets, ``splits`` are among them and none of them is empty."""
    if not datasets:
        raise ValueError("there is nothing to evaluate: give at least one split")
    unknown = [split for split in splits if split not in datasets]
    if unknown:
        raise ValueError(f"{name} has {unknown}, but the splits given are {list(datasets)}")
    for split in splits:
        if len(datasets[split]) == 0:
            raise ValueError(
                f"split {split!r} is empty: give it at least one image, or leave it out"
            )


def _images(dataset: Any, rows: list[int]) -> str:
    """The names of the first images, where the dataset knows them."""
    if not hasattr(dataset, "image_name"):
        return ""
    return ": " + ", ".join(dataset.image_name(row) for row in rows[:NAMED_ROWS])
