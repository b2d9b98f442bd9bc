"""What a model can do on every task, and the matrices that follow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import without_nan
from pml_incremental.scenarios import Task
from pml_incremental.testers import IncrementalTester

#: Cosine above which images cannot be told apart.
COLLAPSED_FROM = 0.999
_SAMPLE = 1000

logger = logging.getLogger(__name__)

#: {"own/recall_at_1": {"task_1": 0.9, ...}, "joint/recall_at_1": {...}, ...}; None: not measured.
Measurements: TypeAlias = dict[str, dict[str, float | None]]


def measure(
    tester: IncrementalTester,
    tasks: Sequence[Task],
    models: Mapping[str, nn.Module],
    seen: int,
    whose: str,
) -> Measurements:
    """Own-gallery values for every task, joint-gallery values for those seen."""
    evaluation = tester.evaluate(
        {task.name: task.test for task in tasks},
        models["trunk"],
        models["embedder"],
        seen=[task.name for task in tasks[:seen]],
    )
    embeddings = list(evaluation.embeddings.values())  # none but in the first process
    if seen and embeddings and has_collapsed(torch.cat(embeddings)):
        logger.warning(
            "%s: after %s the embeddings of all images are nearly the same (cosine above %s): the "
            "model has collapsed; lower the learning rate, or choose another loss or miner",
            whose,
            tasks[seen - 1].name,
            COLLAPSED_FROM,
        )
    galleries = {"own": evaluation.own, "joint": evaluation.joint}
    if tester.searches_by_index:
        recall = dict.fromkeys((task.name for task in tasks), evaluation.recall_of_index)
        galleries["joint"] = {**evaluation.joint, "recall_of_index": recall}
    return {
        f"{gallery}/{metric}": without_nan(dict(values))
        for gallery, metrics in galleries.items()
        for metric, values in metrics.items()
    }


def task_matrices(rows: Sequence[Measurements], tasks: Sequence[Task]) -> dict[str, TaskMatrix]:
    """One matrix per metric."""
    names = [task.name for task in tasks]
    to_come: list[list[float | None]] = [[None] * len(tasks)] * (len(tasks) + 1 - len(rows))
    return {
        metric: TaskMatrix([[row[metric][name] for name in names] for row in rows] + to_come)
        for metric in rows[0]
    }


def has_collapsed(embeddings: Tensor) -> bool:
    """Whether all images have nearly the same direction.

    Of more than 1000 embeddings, 1000 evenly spaced ones are compared.
    """
    if len(embeddings) < 2:
        return False
    rows = torch.linspace(0, len(embeddings) - 1, min(len(embeddings), _SAMPLE)).long()
    unit = normalize(embeddings[rows].double())
    return bool((unit @ unit.T).min() > COLLAPSED_FROM)
