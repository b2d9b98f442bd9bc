"""A finished run's models asked again: intervals, classes, forgotten queries, old indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.query_changes import (
    TaskQueries,
    first_places,
    forgotten_queries,
    lessons,
)
from pml_incremental.metrics import bootstrap_interval
from pml_incremental.report.page import ClassChange, Details
from pml_incremental.scenarios import Task
from pml_incremental.testers.cross_model import cross_model_matrices
from pml_incremental.testers.open_set import open_set


def examine(
    run: FinishedRun, strategy: str, advance: Callable[[], object] = lambda: None
) -> Details:
    """Look closely at one strategy of a run.

    Args:
        run: a finished run whose weights are kept.
        strategy: one of its strategies.
        advance: called after the model of each stage was asked.

    Raises:
        ValueError: if weights are missing.
    """
    stages, labels = run.stage_embeddings(strategy, advance)
    tasks = list(run.scenario)
    ends = [first_places(x, y) for x, y in zip(stages[-1], labels, strict=True)]
    starts = [first_places(stages[j][j], y) for j, y in enumerate(labels)]
    with torch.no_grad():
        untrained, _ = run.embed(run.models_before_tasks())
    before = [stage[j] for j, stage in enumerate([untrained, *stages[:-1]])]
    seen = [
        TaskQueries(task, y, stages[j][j], starts[j])
        for j, (task, y) in enumerate(zip(tasks, labels, strict=True))
    ]
    cross, reindexed = cross_model_matrices(
        [torch.cat(stage) for stage in stages],
        torch.cat(labels),
        list(accumulate(map(len, labels))),
    )
    classes: list[ClassChange] = []
    for task, y, start, end in zip(tasks[:-1], labels, starts, ends, strict=False):
        classes += class_changes(task, y, start, end)
    return Details(
        interval=bootstrap_interval([_hits(end).tolist() for end in ends]),
        classes=sorted(classes, key=lambda change: change.end - change.learned),
        queries=forgotten_queries(seen, stages[-1], ends),
        lessons=lessons(seen, before),
        cross=cross,
        reindexed=reindexed,
        open_set=[_open_set(stage, labels, seen) for seen, stage in enumerate(stages[:-1], 1)],
    )


def _open_set(
    embeddings: Sequence[Tensor], labels: Sequence[Tensor], seen: int
) -> tuple[float, float]:
    names = [str(number) for number in range(len(labels))]
    x, y = dict(zip(names, embeddings, strict=True)), dict(zip(names, labels, strict=True))
    found = open_set(x, y, names[:seen])
    return found.auroc, found.fpr_at_95_tpr


def _hits(places: Tensor) -> Tensor:
    return torch.where(places.isnan(), torch.nan, (places == 1).double())


def class_changes(task: Task, labels: Tensor, start: Tensor, end: Tensor) -> list[ClassChange]:
    """Recall@1 of each class of a task that has any, when learned and at the end."""
    changes = []
    for label, name in zip(task.labels, task.class_names, strict=True):
        of_class = (labels == label) & ~start.isnan()
        if of_class.any():
            learned, last = (float(_hits(places)[of_class].mean()) for places in (start, end))
            changes.append(ClassChange(name, task.number, learned, last))
    return changes
