"""A page from its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pml_incremental.metrics.task_matrix import OWN
from pml_incremental.report.page.closer_look import RunDetails, closer_look
from pml_incremental.report.page.elements import render
from pml_incremental.report.page.overview import entry_name, overview
from pml_incremental.report.page.run_record import RunRecord
from pml_incremental.storage import write_text_whole
from pml_incremental.suggestions.survey import counted


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
