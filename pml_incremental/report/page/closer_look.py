"""The parts of a page that need the run's models again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from pml_incremental.metrics import summarise_cross_model
from pml_incremental.report.page.elements import folded, heat_map, picture, section, table, text
from pml_incremental.report.style import percent, signed_percent

WORST_CLASSES = 12


def intervals_section(details: Mapping[str, RunDetails]) -> str:
    """How sure the means are."""
    rows = [
        [text(name), f"{percent(found.interval[0])} to {percent(found.interval[1])}"]
        for name, found in details.items()
    ]
    return section(
        "How sure",
        "95 % bootstrap interval over queries of the mean Recall@1 at the end, own galleries. It "
        "covers the choice of query images, not that of classes or seeds.",
        table(["strategy", "Recall@1 in %"], rows),
    )


def classes_section(details: Mapping[str, RunDetails]) -> str:
    """Forgetting by class."""
    blocks = []
    for name, found in details.items():
        rows = [
            [
                text(c.name),
                str(c.task),
                percent(c.learned),
                percent(c.end),
                signed_percent(c.end - c.learned),
            ]
            for c in found.classes[:WORST_CLASSES]
        ]
        lost = sum(c.end < c.learned for c in found.classes)
        title = f"{name}: {lost} of {len(found.classes)} classes lost something"
        shown = table(["class", "task", "learned", "end", "change"], rows)
        blocks.append(f"<div><h3>{text(title)}</h3>{shown}</div>")
    return section(
        "Forgetting by class",
        "Recall@1 in percent of the classes of earlier tasks, when learned and at the end; those "
        "that lost most.",
        f"<div class=columns>{''.join(blocks)}</div>",
    )


def queries_section(details: Mapping[str, RunDetails]) -> str:
    """Queries that were answered once and are no longer."""
    blocks: list[str] = []
    for name, found in details.items():
        shown = [_query(c, "when learned", "at the end") for c in found.queries]
        note = "" if shown else "<p class=note>No query was forgotten.</p>"
        blocks.append(folded(name, note + "".join(shown), is_open=not blocks))
    return section(
        "Forgotten queries",
        "They found their class first when it was learned; at the end its nearest image stands "
        "farther back than for any other query.",
        *blocks,
    )


def lessons_section(details: Mapping[str, RunDetails]) -> str:
    """What each task taught."""
    blocks: list[str] = []
    for name, found in details.items():
        shown = [_query(c, "before the task", "after the task") for c in found.lessons]
        blocks.append(folded(name, "".join(shown), is_open=not blocks))
    return section(
        "Before and after each task",
        "Queries spread evenly over the held-out images of each task, and what they find among "
        "these with the models before and after it was learned.",
        *blocks,
    )


def _query(change: QueryChange, before: str, after: str) -> str:
    return (
        f"<div class=query><div><h4>task {change.task}, query</h4>"
        f"<div class=strip>{_thumb(change.query, False)}</div></div>"
        f"<div><h4>{before}: place {change.place_before}</h4>{_strip(change.before)}</div>"
        f"<div><h4>{after}: place {change.place_after}</h4>{_strip(change.after)}</div></div>"
    )


def _strip(found: Sequence[FoundImage]) -> str:
    return f"<div class=strip>{''.join(_thumb(item, True) for item in found)}</div>"


def _thumb(item: FoundImage, judged: bool) -> str:
    kind = ("right" if item.right else "wrong") if judged else ""
    mark = ("✓ " if item.right else "✗ ") if judged else ""
    shown = picture(item.image, item.class_name, f"thumb {kind}")
    return f"<div>{shown}{mark}{text(item.class_name)}</div>"


def cross_model_section(details: Mapping[str, RunDetails]) -> str:
    """New models on old indexes."""
    blocks = []
    for name, found in details.items():
        summary = summarise_cross_model(found.cross, found.reindexed)
        line = (
            f"{percent(summary.compatible_share)} % of the updates are backward compatible; mean "
            f"gain {signed_percent(summary.mean_gain)} without re-indexing, "
            f"{signed_percent(summary.mean_reindexing_gain)} with it"
        )
        rows = [f"task {i + 1}" for i in range(len(found.cross))]
        drawn = heat_map(found.cross, rows, "queries after", framed=0)
        blocks.append(f"<div><h3>{text(name)}</h3>{drawn}<p class=note>{text(line)}</p></div>")
    return section(
        "Old indexes, new models",
        "Recall@1 in percent: queries embedded by the model after the row's task, searched in the "
        "index that the model after the column's task built of all images up to then. Framed: "
        "index and queries by the same model.",
        f"<div class=columns>{''.join(blocks)}</div>",
    )


def open_set_section(details: Mapping[str, RunDetails]) -> str:
    """Classes that the gallery does not hold."""
    stages = max(len(found.open_set) for found in details.values())
    if stages == 0:
        return ""
    rows = [
        [text(f"{name}, {measure}"), *(percent(values[place]) for values in found.open_set)]
        for name, found in details.items()
        for place, measure in enumerate(("AUROC", "FPR at 95 % TPR"))
    ]
    return section(
        "Unknown classes",
        "Can the distance to the nearest image tell queries whose class is in the gallery from "
        "those of tasks yet to come? In percent; AUROC: 50 is chance, more is better; FPR: share "
        "of unknown queries accepted when 95 % of the known ones are, less is better.",
        table(["strategy", *(f"after task {i + 1}" for i in range(stages))], rows),
    )


SECTIONS = (
    classes_section,
    queries_section,
    lessons_section,
    cross_model_section,
    open_set_section,
)


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
