"""A page from its parts, and the overview that it begins with."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from pml_incremental.metrics import TaskMatrix, seen_means
from pml_incremental.metrics.task_matrix import JOINT, OWN
from pml_incremental.report.columns import MEAN, NEW, OF_A_RUN, OLD
from pml_incremental.report.page.closer_look import RunDetails, closer_look
from pml_incremental.report.page.elements import bar, heat_map, line_chart, render, scatter
from pml_incremental.report.page.run_record import RunRecord
from pml_incremental.report.style import NOTE, percent, percent_range
from pml_incremental.storage import write_text_whole
from pml_incremental.wording import counted

_KINDS = ("own", "together")
PLAIN, JOINTLY = "finetune", "joint"  # strategies that others are compared with


def write_page(
    path: Path,
    runs: Sequence[RunRecord],
    details: Mapping[tuple[int, str], RunDetails] | None = None,
) -> None:
    """Write one HTML file that needs nothing else, neither network nor scripts.

    Args:
        path: of the file.
        runs: what the page is about.
        details: what needed the models again, by the run's place in ``runs`` and the strategy.

    Raises:
        ValueError: if there are no runs, or one has not measured Recall@1.
    """
    write_text_whole(path, render_page(runs, details))


def render_page(
    runs: Sequence[RunRecord], details: Mapping[tuple[int, str], RunDetails] | None = None
) -> str:
    """The text of the page, see :func:`write_page`."""
    if not runs:
        raise ValueError("there are no runs to report: give at least one")
    for run in runs:
        if not run.strategies or any(OWN not in found for found in run.strategies.values()):
            raise ValueError(f"run {run.name!r} has no {OWN}: add recall_at_1 to its metrics")
    closer = {
        entry_name(runs, runs[place], strategy): found
        for (place, strategy), found in (details or {}).items()
    }
    return render(
        "report.html",
        title=" and ".join(dict.fromkeys(run.name for run in runs)),
        about=_made_with(runs[0]),
        **overview(runs),
        **closer_look(closer),
    )


def _made_with(run: RunRecord) -> str:
    tasks = next(iter(next(iter(run.strategies.values())).values())).num_tasks
    packages = run.environment.get("packages") or {}
    return (
        f"Incremental image retrieval · {counted(tasks, 'task')} · "
        f"{run.environment.get('device', 'unknown')} · torch {packages.get('torch', 'unknown')}"
    )


def overview(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The values of the template that need no model."""
    return {
        "names": list(named_matrices(runs, OWN)),
        "verdicts": verdicts(runs),
        "updates": list(updates(runs)),
        "summary": summary(runs),
        "trade_off": trade_off(runs),
        "curves": curves(runs),
        "matrices": [
            (title, list(heat_maps(runs, metric)))
            for metric, title in ((OWN, "own gallery"), (JOINT, "gallery of all tasks seen"))
        ],
        "metrics": all_metrics(runs),
        "retrievals": list(retrievals(runs)),
        "estimates": list(estimates(runs)),
        "setting": list(setting(runs)),
    }


def verdicts(runs: Sequence[RunRecord]) -> list[str]:
    """What came of each run, in a line."""
    lines = [
        # Updates of versions before this one have no verdict.
        run_verdict(run.strategies) if run.update is None else run.update.get("verdict", "")
        for run in runs
    ]
    named = len(runs) > 1
    return [
        f"{run.name}: {line}" if named else line
        for run, line in zip(runs, lines, strict=True)
        if line
    ]


def run_verdict(strategies: Mapping[str, Mapping[str, TaskMatrix]]) -> str:
    """Which strategy finds most at the end, beside plain training.

    ``joint``, which trains on the old images too, is out of competition.

    Example:
        >>> first = [[0, 0], [0.9, 0]]
        >>> matrices = {"finetune": [*first, [0.5, 0.8]], "l2": [*first, [0.75, 0.8]]}
        >>> print(run_verdict({name: {OWN: TaskMatrix(m)} for name, m in matrices.items()}))
        l2 finds most: Recall@1 75.0 % on earlier tasks, 80.0 % on the last; finetune: 50.0, 80.0 %
    """
    matrices = {name: found[OWN] for name, found in strategies.items()}
    rivals = {name: found for name, found in matrices.items() if name != JOINTLY} or matrices
    best = max(rivals, key=lambda name: np.nan_to_num(MEAN.value(rivals[name]), nan=-1))
    old, new, mean = (column.write(column.value(rivals[best])) for column in (OLD, NEW, MEAN))
    is_one = rivals[best].num_tasks == 1
    found = (
        f"Recall@1 {new} %"
        if is_one
        else (f"Recall@1 {old} % on earlier tasks, {new} % on the last")
    )
    if len(rivals) == 1 or PLAIN not in rivals:
        return f"{best}: {found}"
    plain = [column.write(column.value(rivals[PLAIN])) for column in (OLD, NEW, MEAN)]
    if plain[2] == mean:
        return f"Nothing finds more than {PLAIN}: {found}"
    beside = plain[1] if is_one else ", ".join(plain[:2])
    return f"{best} finds most: {found}; {PLAIN}: {beside} %"


def updates(runs: Sequence[RunRecord]) -> Iterator[tuple[str, list[list[str]]]]:
    """Recall@1 of both models of each update on each folder."""
    for run in runs:
        if run.update is None:
            continue
        before, after = (run.update["recall_at_1"][when] for when in ("before", "after"))
        rows = [
            [name, *(_percent(part[kind][name]) for kind in _KINDS for part in (before, after))]
            for name in before["own"]
        ]
        yield run.name, rows


def _percent(share: float | None) -> str:
    return percent(math.nan if share is None else share)


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


def summary(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The numbers that one looks at first."""
    by_metric = {metric: named_matrices(runs, metric) for metric in (OWN, JOINT)}
    names = list(by_metric[OWN])
    columns = []
    for column in OF_A_RUN:
        matrices = by_metric[column.metric]
        values = [column.value(matrices[n]) if n in matrices else math.nan for n in names]
        columns.append(
            [
                Markup("<b>{}</b>").format(column.write(value)) if best else column.write(value)
                for value, best in zip(values, column.are_best(values), strict=True)
            ]
        )
    headings = ["strategy", *(column.heading for column in OF_A_RUN)]
    return {"headings": headings, "rows": list(zip(names, *columns, strict=True))}


def trade_off(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """What is learned against what is kept; nothing if there is one task."""
    matrices = {n: m for n, m in named_matrices(runs, OWN).items() if m.num_tasks > 1}
    if not matrices:
        return None
    points = {
        name: (float(m.values[1:].diagonal()[1:].mean()), OLD.value(m))
        for name, m in matrices.items()
    }
    axes = "new tasks, when learned", "earlier tasks, at the end"
    return {"names": list(points), "chart": scatter("Recall@1 in %", points, *axes)}


def curves(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Each task over time."""
    matrices = named_matrices(runs, OWN)
    tasks = max(m.num_tasks for m in matrices.values())
    everything = [v for m in matrices.values() for v in m.values.ravel().tolist()]
    bounds = percent_range(everything)
    means = {n: [math.nan, *seen_means(m.values).tolist()] for n, m in matrices.items()}
    panels = [line_chart("mean of the tasks seen", means, bounds)]
    for j in range(tasks):
        of_task = {
            # A name without this task keeps its colour.
            name: m.values[:, j].tolist() if j < m.num_tasks else [math.nan]
            for name, m in matrices.items()
        }
        panels.append(line_chart(f"task {j + 1}", of_task, bounds))
    return panels


def heat_maps(runs: Sequence[RunRecord], metric: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The task matrix of each strategy."""
    for name, matrix in named_matrices(runs, metric).items():
        first = int(np.isnan(matrix.values[0]).all())
        yield name, heat_map(matrix.values[first:], matrix.row_names[first:], "after", 1 - first)


def all_metrics(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """All metrics after the last task."""
    metrics = list(dict.fromkeys(m for r in runs for s in r.strategies.values() for m in s))
    by_metric = {metric: named_matrices(runs, metric) for metric in metrics}
    names = list(dict.fromkeys(name for found in by_metric.values() for name in found))
    rows = [
        [metric, *(percent(found[n].last()) if n in found else "" for n in names)]
        for metric, found in by_metric.items()
    ]
    return {"headings": ["after the last task, in %", *names], "rows": rows}


def retrievals(runs: Sequence[RunRecord]) -> Iterator[tuple[str, str, str, str]]:
    """The pictures of what the last models find, and names that they could not draw."""
    for run in runs:
        for strategy, path in run.retrievals.items():
            code = base64.b64encode(path.read_bytes()).decode("ascii")
            with Image.open(path) as picture:
                legend = picture.info.get(NOTE, "")
            yield entry_name(runs, run, strategy), code, f"retrievals by {strategy}", legend


def setting(runs: Sequence[RunRecord]) -> Iterator[tuple[str, str, str]]:
    """Config and environment."""
    for run in runs:
        yield run.name, "config.yaml", run.config
        environment = json.dumps(run.environment, indent=2, ensure_ascii=False)
        yield run.name, "environment.json", environment


def estimates(runs: Sequence[RunRecord]) -> Iterator[tuple[str, bool, str, list[list[str]]]]:
    """Estimated against real earlier models, of the runs that were diagnosed."""
    for run in runs:
        if run.diagnosis is None:
            continue
        for number, (strategy, drifts) in enumerate(run.diagnosis["drift_by_task"].items()):
            moved = ", ".join(f"{d:.2f} at task {task}" for task, d in drifts["test"].items())
            entries = [e for e in run.diagnosis["summaries"] if e["strategy"] == strategy]
            rows = [_estimate(entry) for entry in entries]
            yield entry_name(runs, run, strategy), number == 0, moved, rows


def _estimate(entry: Mapping[str, Any]) -> list[str]:
    errors = [entry["divergence_ratio"][images] for images in ("test", "train")]
    correlation = entry["correlation"]["test"]
    return [
        entry["estimator"],
        entry["observed_on"],
        *("" if error is None else bar(error, f"{error:.2f}") for error in errors),
        "" if correlation is None else f"{correlation:.2f}",
        f"{entry['nbytes'] / 1000:,.1f}",
    ]
