"""The parts of a page that need the run's models again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pml_incremental.metrics import summarise_cross_model
from pml_incremental.report.page.details import Details, FoundImage, QueryChange
from pml_incremental.report.page.elements import heat_map, picture, section, table, text
from pml_incremental.report.text import percent, signed_percent

WORST_CLASSES = 12


def intervals_section(details: Mapping[str, Details]) -> str:
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


def classes_section(details: Mapping[str, Details]) -> str:
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


def queries_section(details: Mapping[str, Details]) -> str:
    """Queries that were answered once and are no longer."""
    blocks = []
    for name, found in details.items():
        blocks.append(f"<h3>{text(name)}</h3>")
        blocks += [_query(change) for change in found.queries]
        if not found.queries:
            blocks.append("<p class=note>No query was forgotten.</p>")
    return section(
        "Forgotten queries",
        "They found their class first when it was learned; at the end its nearest image stands "
        "farther back than for any other query.",
        *blocks,
    )


def _query(change: QueryChange) -> str:
    learned = f"when learned, task {change.task}: place {change.place_learned}"
    end = f"at the end: place {change.place_end}"
    return (
        f"<div class=query><div><h4>query</h4><div class=strip>{_thumb(change.query, False)}</div>"
        f"</div><div><h4>{text(learned)}</h4>{_strip(change.learned)}</div>"
        f"<div><h4>{text(end)}</h4>{_strip(change.end)}</div></div>"
    )


def _strip(found: Sequence[FoundImage]) -> str:
    return f"<div class=strip>{''.join(_thumb(item, True) for item in found)}</div>"


def _thumb(item: FoundImage, judged: bool) -> str:
    kind = ("right" if item.right else "wrong") if judged else ""
    mark = ("✓ " if item.right else "✗ ") if judged else ""
    shown = picture(item.image, item.class_name, f"thumb {kind}")
    return f"<div>{shown}{mark}{text(item.class_name)}</div>"


def cross_model_section(details: Mapping[str, Details]) -> str:
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


def open_set_section(details: Mapping[str, Details]) -> str:
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


SECTIONS = (classes_section, queries_section, cross_model_section, open_set_section)
