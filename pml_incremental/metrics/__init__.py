"""Recall@K, and the task matrix with what follows from it: no pytorch-metric-learning."""

from pml_incremental.metrics.recall import lone_queries, recall_at_k
from pml_incremental.metrics.spread import Spread
from pml_incremental.metrics.task_averages import average_incremental, last, seen_means
from pml_incremental.metrics.task_forgetting import forgetting, max_forgetting
from pml_incremental.metrics.task_matrix import TaskMatrix
from pml_incremental.metrics.task_transfer import backward_transfer, forward_transfer

__all__ = [
    "Spread",
    "TaskMatrix",
    "average_incremental",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "last",
    "lone_queries",
    "max_forgetting",
    "recall_at_k",
    "seen_means",
]
