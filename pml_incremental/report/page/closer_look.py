"""What a page shows when the run's models were asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.metrics import summarise_cross_model
from pml_incremental.report.page.elements import heat_map
from pml_incremental.report.style import percent, signed_percent
from pml_incremental.wording import counted

WORST_CLASSES = 12


def closer_look(details: Mapping[str, RunDetails]) -> dict[str, Any]:
    """The values of the template that need the models."""
    return {
        "details": details,
        "intervals": [
            [name, f"{percent(found.interval[0])} to {percent(found.interval[1])}"]
            for name, found in details.items()
        ],
        "classes": list(forgetting_by_class(details)),
        "cross_model": list(cross_model(details)),
        "open_set": open_set(details),
    }


def forgetting_by_class(
    details: Mapping[str, RunDetails],
) -> Iterator[tuple[str, list[list[str]]]]:
    """The classes that lost most."""
    for name, found in details.items():
        lost = sum(c.end < c.learned for c in found.classes)
        rows = [
            [
                c.name,
                str(c.task),
                percent(c.learned),
                percent(c.end),
                signed_percent(c.end - c.learned),
            ]
            for c in found.classes[:WORST_CLASSES]
        ]
        yield f"{name}: {lost} of {counted(len(found.classes), 'class')} lost something", rows


def cross_model(details: Mapping[str, RunDetails]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """New models on old indexes."""
    for name, found in details.items():
        summary = summarise_cross_model(found.cross, found.reindexed)
        line = (
            f"{percent(summary.compatible_share)} % of the updates are backward compatible; mean "
            f"gain {signed_percent(summary.mean_gain)} without re-indexing, "
            f"{signed_percent(summary.mean_reindexing_gain)} with it"
        )
        rows = [f"task {i + 1}" for i in range(len(found.cross))]
        yield name, heat_map(found.cross, rows, "queries after", framed=0), line


def open_set(details: Mapping[str, RunDetails]) -> dict[str, Any] | None:
    """Classes that the gallery does not hold; nothing if there is one task."""
    stages = max((len(found.open_set) for found in details.values()), default=0)
    if stages == 0:
        return None
    rows = [
        [f"{name}, {measure}", *(percent(values[place]) for values in found.open_set)]
        for name, found in details.items()
        for place, measure in enumerate(("AUROC", "FPR at 95 % TPR"))
    ]
    headings = ["strategy", *(f"after task {i + 1}" for i in range(stages))]
    return {"headings": headings, "rows": rows}


@dataclass(frozen=True)
class ClassChange:
    """Recall@1 of a class when its task was learned, and at the end."""

    name: str
    task: int
    learned: float
    end: float


@dataclass(frozen=True)
class FoundImage:
    """A picture with the name of its class, and whether it is the query's."""

    image: Image
    class_name: str
    right: bool


@dataclass(frozen=True)
class QueryChange:
    """What a query found with an earlier model, and with a later one.

    ``place_before`` and ``place_after`` say where its nearest same-class image stood.
    """

    query: FoundImage
    task: int
    place_before: int
    place_after: int
    before: Sequence[FoundImage]
    after: Sequence[FoundImage]


@dataclass(frozen=True)
class RunDetails:
    """One strategy, looked at closely.

    Attributes:
        interval: 95 % bootstrap interval of Recall@1 at the end, mean of the tasks, own gallery.
        classes: of the earlier tasks, those that lost most first.
        queries: some that found their class when it was learned and miss it most at the end.
        lessons: queries spread over each task, before and after it was learned.
        cross: c[i][j], queries by the model after task i + 1, index by that after task j + 1.
        reindexed: the same with the index rebuilt.
        open_set: AUROC and FPR at 95 % TPR after each task but the last, with the queries of the
            tasks to come as those of unknown classes.
    """

    interval: tuple[float, float]
    classes: Sequence[ClassChange]
    queries: Sequence[QueryChange]
    lessons: Sequence[QueryChange]
    cross: NDArray[np.float64]
    reindexed: NDArray[np.float64]
    open_set: Sequence[tuple[float, float]]
