"""The parts of a page that every finished run has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pml_incremental.metrics import TaskMatrix, seen_means
from pml_incremental.metrics.task_matrix import JOINT, OWN
from pml_incremental.report.columns import OF_A_RUN, OLD
from pml_incremental.report.page.elements import (
    embedded_png,
    folded,
    heat_map,
    legend,
    line_chart,
    scatter,
    section,
    table,
    text,
)
from pml_incremental.report.page.run_record import RunRecord
from pml_incremental.report.style import percent, percent_range

Named = Mapping[str, TaskMatrix]


def named_matrices(runs: Sequence[RunRecord], metric: str) -> dict[str, TaskMatrix]:
    """The matrices of all strategies; with the run's name in front if there are several runs."""
    return {
        entry_name(runs, run, strategy): matrices[metric]
        for run in runs
        for strategy, matrices in run.strategies.items()
        if metric in matrices
    }


def entry_name(runs: Sequence[RunRecord], run: RunRecord, strategy: str) -> str:
    """What a strategy of a run is called on the page."""
    if len(runs) == 1:
        return strategy
    same = [other for other in runs if other.name == run.name]
    number = f" #{same.index(run) + 1}" if len(same) > 1 else ""
    return f"{run.name}{number} · {strategy}"


def summary_section(runs: Sequence[RunRecord]) -> str:
    """The numbers that one looks at first."""
    by_metric = {metric: named_matrices(runs, metric) for metric in (OWN, JOINT)}
    names = list(by_metric[OWN])
    columns = []
    for column in OF_A_RUN:
        matrices = by_metric[column.metric]
        values = [column.value(matrices[n]) if n in matrices else math.nan for n in names]
        columns.append(
            [
                f"<b>{column.write(value)}</b>" if best else column.write(value)
                for value, best in zip(values, column.are_best(values), strict=True)
            ]
        )
    rows = [[text(name), *cells] for name, *cells in zip(names, *columns, strict=True)]
    headings = ["strategy", *(column.heading for column in OF_A_RUN)]
    return section(
        "Summary",
        "Recall@1 in percent on held-out images, each task in its own gallery; in the last column "
        "in the gallery of all tasks. The best of each column is marked. Forgetting: less is "
        "better, below zero later tasks helped.",
        table(headings, rows, "wide"),
    )


def trade_off_section(runs: Sequence[RunRecord]) -> str:
    """What is learned against what is kept."""
    matrices = {n: m for n, m in named_matrices(runs, OWN).items() if m.num_tasks > 1}
    if not matrices:
        return ""
    points = {
        name: (
            float(m.values[1:].diagonal()[1:].mean()),
            OLD.value(m),
        )
        for name, m in matrices.items()
    }
    return section(
        "Learning and keeping",
        "Right: new tasks are learned better. Up: earlier tasks are kept better. Rings mark what "
        "nothing else beats in both.",
        legend(list(points)),
        scatter("Recall@1 in %", points, "new tasks, when learned", "earlier tasks, at the end"),
    )


def curves_section(runs: Sequence[RunRecord]) -> str:
    """Each task over time."""
    matrices = named_matrices(runs, OWN)
    tasks = max(m.num_tasks for m in matrices.values())
    everything = [v for m in matrices.values() for v in m.values.ravel().tolist()]
    bounds = percent_range(everything)
    means = {n: [math.nan, *seen_means(m.values).tolist()] for n, m in matrices.items()}
    panels = [line_chart("mean of the tasks seen", means, bounds)]
    for j in range(tasks):
        curves = {n: m.values[:, j].tolist() for n, m in matrices.items() if j < m.num_tasks}
        panels.append(line_chart(f"task {j + 1}", _padded(curves, list(matrices)), bounds))
    return section(
        "Over time",
        "Recall@1 in percent in the task's own gallery, before any task and after each.",
        legend(list(matrices)),
        f"<div class=columns>{''.join(panels)}</div>",
    )


def _padded(curves: Mapping[str, Sequence[float]], names: Sequence[str]) -> dict[str, list[float]]:
    """All names in order, so that each keeps its colour."""
    return {name: list(curves.get(name, [math.nan])) for name in names}


def matrices_section(runs: Sequence[RunRecord]) -> str:
    """The task matrices of both galleries."""
    blocks = []
    for metric, title in ((OWN, "own gallery"), (JOINT, "gallery of all tasks seen")):
        maps = []
        for name, matrix in named_matrices(runs, metric).items():
            first = int(np.isnan(matrix.values[0]).all())
            drawn = heat_map(matrix.values[first:], matrix.row_names[first:], "after", 1 - first)
            maps.append(f"<div><h3>{text(name)}</h3>{drawn}</div>")
        shown = f"<div class=columns>{''.join(maps)}</div>"
        blocks.append(folded(f"Recall@1, {title}", shown, is_open=True))
    return section(
        "Task matrices",
        "Row: the model after a task. Column: the task whose held-out images are asked. Framed: "
        "the task just learned. In percent.",
        *blocks,
    )


def metrics_section(runs: Sequence[RunRecord]) -> str:
    """All metrics after the last task."""
    metrics = list(dict.fromkeys(m for r in runs for s in r.strategies.values() for m in s))
    by_metric = {metric: named_matrices(runs, metric) for metric in metrics}
    names = list(dict.fromkeys(name for found in by_metric.values() for name in found))
    rows = [
        [text(metric), *(percent(found[n].last()) if n in found else "" for n in names)]
        for metric, found in by_metric.items()
    ]
    shown = table(["after the last task, in %", *names], rows)
    return section("All metrics", "Means over the tasks.", folded("Show", shown))


def retrievals_section(runs: Sequence[RunRecord]) -> str:
    """The pictures of what the last models find."""
    shots = [
        folded(
            entry_name(runs, run, s), embedded_png(path.read_bytes(), f"retrievals by {s}", "shot")
        )
        for run in runs
        for s, path in run.retrievals.items()
    ]
    if not shots:
        return ""
    note = "Queries of every task and the images nearest to them among all tasks, at the end."
    return section("What is found", note, *shots)


def setting_section(runs: Sequence[RunRecord]) -> str:
    """Config and environment."""
    parts = []
    for run in runs:
        environment = json.dumps(run.environment, indent=2, ensure_ascii=False)
        parts.append(folded(f"{run.name}: config.yaml", f"<pre>{text(run.config)}</pre>"))
        parts.append(folded(f"{run.name}: environment.json", f"<pre>{text(environment)}</pre>"))
    return section("Setting", "What the runs were made with.", *parts)
