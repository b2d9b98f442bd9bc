"""Recall@K, the task matrix, quality of estimates: no pytorch-metric-learning."""

from pml_incremental.metrics.estimation_quality import (
    correlation_divergence,
    off_diagonal_correlation,
    relative_drift,
)
from pml_incremental.metrics.recall import lone_queries, recall_at_k
from pml_incremental.metrics.task_averages import average_incremental, last, seen_means
from pml_incremental.metrics.task_forgetting import forgetting, max_forgetting
from pml_incremental.metrics.task_matrix import TaskMatrix
from pml_incremental.metrics.task_transfer import backward_transfer, forward_transfer

__all__ = [
    "TaskMatrix",
    "average_incremental",
    "backward_transfer",
    "correlation_divergence",
    "forgetting",
    "forward_transfer",
    "last",
    "lone_queries",
    "max_forgetting",
    "off_diagonal_correlation",
    "recall_at_k",
    "relative_drift",
    "seen_means",
]
