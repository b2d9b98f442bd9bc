"""A finished run's models asked again: intervals, classes, forgotten queries, old indexes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from PIL.Image import Image
from torch import Tensor

from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.retrievals import as_picture
from pml_incremental.metrics import bootstrap_interval, reciprocal_rank
from pml_incremental.report.page import ClassChange, Details, FoundImage, QueryChange
from pml_incremental.scenarios import Task
from pml_incremental.search import ExactSearch, Lookup
from pml_incremental.testers.cross_model import cross_model_matrices
from pml_incremental.testers.open_set import open_set

QUERIES, SHOWN, PIXELS = 6, 4, 72


def examine(run: FinishedRun, strategy: str) -> Details:
    """Look closely at one strategy of a run.

    Args:
        run: a finished run whose weights are kept.
        strategy: one of its strategies.

    Raises:
        ValueError: if weights are missing.
    """
    stages, labels = run.stage_embeddings(strategy)
    tasks = list(run.scenario)
    ends = [first_places(x, y) for x, y in zip(stages[-1], labels, strict=True)]
    starts = [first_places(stages[j][j], y) for j, y in enumerate(labels)]
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
        queries=_forgotten(tasks, stages, labels, starts, ends),
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


def first_places(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Where each image's nearest same-class image stands, NaN if there is none, shape (N,)."""
    every = range(len(labels))
    (found,) = ExactSearch(embeddings, labels).rank_matches([Lookup(every, every, depth=None)])
    return torch.where(found.answerable, 1 / reciprocal_rank(found), torch.nan)


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


def _forgotten(
    tasks: Sequence[Task],
    stages: Sequence[Sequence[Tensor]],
    labels: Sequence[Tensor],
    starts: Sequence[Tensor],
    ends: Sequence[Tensor],
) -> list[QueryChange]:
    lost = [
        (float(end[q]), j, q)
        for j, (start, end) in enumerate(zip(starts[:-1], ends, strict=False))
        for q in torch.nonzero((start == 1) & (end > 1)).flatten().tolist()
    ]
    worst = sorted(lost, key=lambda entry: (-entry[0], entry[1:]))[:QUERIES]
    return [
        QueryChange(
            query=_found(tasks[j], [q], int(labels[j][q]))[0],
            task=tasks[j].number,
            place_learned=1,
            place_end=int(place),
            learned=_nearest(tasks[j], stages[j][j], labels[j], q),
            end=_nearest(tasks[j], stages[-1][j], labels[j], q),
        )
        for place, j, q in worst
    ]


def _nearest(task: Task, embeddings: Tensor, labels: Tensor, query: int) -> list[FoundImage]:
    asked = range(query, query + 1)
    found = ExactSearch(embeddings, labels).nearest(asked, range(len(labels)), SHOWN)
    return _found(task, found[0].tolist(), int(labels[query]))


def _found(task: Task, rows: Sequence[int], label: int) -> list[FoundImage]:
    pictures = task.test.with_transform(as_picture)
    items = [pictures[row] for row in rows]
    return [
        FoundImage(_thumbnail(image), task.class_names[own - task.labels.start], own == label)
        for image, own in items
    ]


def _thumbnail(image: Image) -> Image:
    small = image.copy()
    small.thumbnail((2 * PIXELS, 2 * PIXELS))
    return small
