"""A page from its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pml_incremental.metrics.task_matrix import OWN
from pml_incremental.report.page import closer_look, overview
from pml_incremental.report.page.closer_look import RunDetails
from pml_incremental.report.page.elements import bar, document, folded, section, table, text
from pml_incremental.report.page.overview import entry_name
from pml_incremental.report.page.run_record import RunRecord
from pml_incremental.storage import write_text_whole

HEADINGS = ("estimator", "observed on", "error, held out", "error, training", "r, held out", "kB")


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
        overview.entry_name(runs, runs[place], strategy): found
        for (place, strategy), found in (details or {}).items()
    }
    parts = [
        overview.summary_section(runs),
        closer_look.intervals_section(closer) if closer else "",
        overview.trade_off_section(runs),
        overview.curves_section(runs),
        overview.matrices_section(runs),
        *(part(closer) for part in closer_look.SECTIONS if closer),
        overview.retrievals_section(runs),
        estimates_section(runs),
        overview.metrics_section(runs),
        overview.setting_section(runs),
    ]
    title = " and ".join(dict.fromkeys(run.name for run in runs))
    return document(title, _made_with(runs[0]), "".join(parts))


def _made_with(run: RunRecord) -> str:
    tasks = next(iter(next(iter(run.strategies.values())).values())).num_tasks
    packages = run.environment.get("packages") or {}
    return (
        f"Incremental image retrieval · {tasks} task{'' if tasks == 1 else 's'} · "
        f"{run.environment.get('device', 'unknown')} · torch {packages.get('torch', 'unknown')}"
    )


def estimates_section(runs: Sequence[RunRecord]) -> str:
    """Estimated against real earlier models, of the runs that were diagnosed."""
    blocks = [
        folded(
            entry_name(runs, run, strategy),
            _of_strategy(run.diagnosis, strategy, drifts["test"]),
            is_open=number == 0,
        )
        for run in runs
        if run.diagnosis is not None
        for number, (strategy, drifts) in enumerate(run.diagnosis["drift_by_task"].items())
    ]
    if not blocks:
        return ""
    return section(
        "Estimates of earlier models",
        "What estimators make of the models that are no longer there, against the stored models. "
        "Error: divergence of the similarities between images, divided by that of taking the last "
        "model for all of them; below 1 the estimate is nearer. r: correlation of estimated and "
        "real similarities. kB: what is stored for all earlier models. Observed on: the images "
        "that the estimator learned from, of the tasks just finished or new.",
        *blocks,
    )


def _of_strategy(diagnosis: Mapping[str, Any], strategy: str, drifts: Mapping[str, float]) -> str:
    rows = [_row(entry) for entry in diagnosis["summaries"] if entry["strategy"] == strategy]
    moved = ", ".join(f"{drift:.2f} at task {task}" for task, drift in drifts.items())
    note = f"<p class=note>Features have moved by {text(moved)}, as a share of their length.</p>"
    return note + table(HEADINGS, rows)


def _row(entry: Mapping[str, Any]) -> list[str]:
    errors = [entry["divergence_ratio"][images] for images in ("test", "train")]
    correlation = entry["correlation"]["test"]
    return [
        text(entry["estimator"]),
        text(entry["observed_on"]),
        *("" if error is None else bar(error, f"{error:.2f}") for error in errors),
        "" if correlation is None else f"{correlation:.2f}",
        f"{entry['nbytes'] / 1000:,.1f}",
    ]
