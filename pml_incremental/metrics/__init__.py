"""Recall@K, the task matrix, quality of estimates: no pytorch-metric-learning."""

from pml_incremental.metrics.deployment import (
    CrossModelSummary,
    open_set_auroc,
    open_set_fpr,
    summarise_cross_model,
)
from pml_incremental.metrics.estimation_quality import (
    correlation_divergence,
    off_diagonal_correlation,
    relative_drift,
)
from pml_incremental.metrics.rank_metrics import (
    NOT_FOUND,
    MatchRanks,
    RetrievalMetric,
    average_precision,
    average_precision_at_r,
    common_depth,
    hit_at_k,
    match_ranks,
    precision_at_k,
    r_precision,
    reciprocal_rank,
)
from pml_incremental.metrics.recall import lone_queries, recall_at_k
from pml_incremental.metrics.task_matrix import TaskMatrix
from pml_incremental.metrics.task_summaries import (
    average_incremental,
    backward_transfer,
    forgetting,
    forward_transfer,
    last,
    max_forgetting,
    seen_means,
)
from pml_incremental.metrics.uncertainty import Spread, bootstrap_interval

__all__ = [
    "NOT_FOUND",
    "CrossModelSummary",
    "MatchRanks",
    "RetrievalMetric",
    "Spread",
    "TaskMatrix",
    "average_incremental",
    "average_precision",
    "average_precision_at_r",
    "backward_transfer",
    "bootstrap_interval",
    "common_depth",
    "correlation_divergence",
    "forgetting",
    "forward_transfer",
    "hit_at_k",
    "last",
    "lone_queries",
    "match_ranks",
    "max_forgetting",
    "off_diagonal_correlation",
    "open_set_auroc",
    "open_set_fpr",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "reciprocal_rank",
    "relative_drift",
    "seen_means",
    "summarise_cross_model",
]
