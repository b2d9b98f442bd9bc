"""The part of a page that says how well estimators know earlier models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pml_incremental.report.page.elements import bar, folded, section, table, text
from pml_incremental.report.page.overview import entry_name
from pml_incremental.report.page.run_record import RunRecord

HEADINGS = ("estimator", "observed on", "error, held out", "error, training", "r, held out", "kB")


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
