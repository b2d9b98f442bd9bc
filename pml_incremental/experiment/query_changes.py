"""What queries of a task find with one model and with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image
from torch import Tensor

from pml_incremental.experiment.retrievals import as_picture
from pml_incremental.metrics import reciprocal_rank
from pml_incremental.report.page import FoundImage, QueryChange
from pml_incremental.scenarios import Task
from pml_incremental.search import ExactSearch, Lookup

FORGOTTEN, PER_TASK, SHOWN, PIXELS = 6, 2, 4, 72


@dataclass(frozen=True)
class TaskQueries:
    """The held-out images of a task, as the model that has just learned it sees them.

    Attributes:
        task: the task.
        labels: shape (N,).
        embeddings: shape (N, d).
        places: see :func:`first_places`, shape (N,).
    """

    task: Task
    labels: Tensor
    embeddings: Tensor
    places: Tensor

    def change(
        self, query: int, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
    ) -> QueryChange:
        """What one of them finds with two models, each given by embeddings and places."""
        return QueryChange(
            query=self._found([query], query)[0],
            task=self.task.number,
            place_before=int(before[1][query]),
            place_after=int(after[1][query]),
            before=self._nearest(before[0], query),
            after=self._nearest(after[0], query),
        )

    def _nearest(self, embeddings: Tensor, query: int) -> list[FoundImage]:
        asked = range(query, query + 1)
        search = ExactSearch(embeddings, self.labels)
        rows = search.nearest(asked, range(len(self.labels)), SHOWN)[0]
        return self._found(rows.tolist(), query)

    def _found(self, rows: Sequence[int], query: int) -> list[FoundImage]:
        pictures, first = self.task.test.with_transform(as_picture), self.task.labels.start
        items = [pictures[row] for row in rows]
        asked = int(self.labels[query])
        return [
            FoundImage(_thumbnail(image), self.task.class_names[label - first], label == asked)
            for image, label in items
        ]


def first_places(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Where each image's nearest same-class image stands, NaN if there is none, shape (N,)."""
    every = range(len(labels))
    (found,) = ExactSearch(embeddings, labels).rank_matches([Lookup(every, every, depth=None)])
    return torch.where(found.answerable, 1 / reciprocal_rank(found), torch.nan)


def forgotten_queries(
    tasks: Sequence[TaskQueries], last: Sequence[Tensor], ends: Sequence[Tensor]
) -> list[QueryChange]:
    """The queries that found their class first when it was learned and miss it most at the end.

    Args:
        tasks: all tasks; the last one's queries cannot be forgotten yet.
        last: embeddings of each task's images by the last model.
        ends: see :func:`first_places`, with the last model.
    """
    lost = [
        (float(end[q]), j, q)
        for j, (queries, end) in enumerate(zip(tasks[:-1], ends, strict=False))
        for q in torch.nonzero((queries.places == 1) & (end > 1)).flatten().tolist()
    ]
    worst = sorted(lost, key=lambda entry: (-entry[0], entry[1:]))[:FORGOTTEN]
    return [
        tasks[j].change(q, (tasks[j].embeddings, tasks[j].places), (last[j], ends[j]))
        for _, j, q in worst
    ]


def lessons(tasks: Sequence[TaskQueries], before: Sequence[Tensor]) -> list[QueryChange]:
    """Queries spread evenly over each task, before and after it was learned.

    Args:
        tasks: all tasks.
        before: embeddings of each task's images by the model that had not learned it yet.
    """
    changes = []
    for queries, old in zip(tasks, before, strict=True):
        answerable = torch.nonzero(~queries.places.isnan()).flatten().tolist()
        places = first_places(old, queries.labels)
        step = max(1, len(answerable) // PER_TASK)
        for query in answerable[::step][:PER_TASK]:
            after = (queries.embeddings, queries.places)
            changes.append(queries.change(query, (old, places), after))
    return changes


def _thumbnail(image: Image) -> Image:
    small = image.copy()
    small.thumbnail((2 * PIXELS, 2 * PIXELS))
    return small
