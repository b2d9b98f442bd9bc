"""What a model can do on every task, and the matrices that follow."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
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
Measurements: TypeAlias = Mapping[str, Mapping[str, float | None]]


class Row(Mapping[str, float | None]):
    """A value for each task, in 8 bytes: a stream of many tasks keeps many of them."""

    def __init__(self, values: Mapping[str, float | None]) -> None:
        self._places = _places(tuple(values))
        numbers = (math.nan if value is None else value for value in values.values())
        self._values = array("d", numbers)

    def __getitem__(self, name: str) -> float | None:
        value = self._values[self._places[name]]
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@cache
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def packed(found: Measurements) -> Measurements:
    """The same, as it is kept until the end of a run."""
    return {metric: Row(values) for metric, values in found.items()}


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
