"""How well estimators know the prior models of a finished run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.assembly import batch_size
from pml_incremental.experiment.diagnosis.bank_replay import (
    Candidate,
    StoredRun,
    UnfitRunError,
    candidates_by_task,
    embed_task,
)
from pml_incremental.experiment.environment import apply_torch_settings
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.report import plot_estimation_error
from pml_incremental.report.results import Diagnosis, EstimationRow, Split
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.strategies import Strategy
from pml_incremental.trainers import Teacher
from pml_incremental.wording import counted

_PANELS = {"finished": "observed on finished tasks", "new": "observed on the new images"}


def diagnose(folder: str | Path, *, progress: bool = True) -> Diagnosis:
    """Compare what estimators make of a run's prior models with those models, which it has stored.

    For each strategy and each task t from the third on, the new task's images, without random
    transforms, are embedded by the teacher M_{t-1} and by M_1 .. M_{t-2}. Every estimator is
    brought up to date over the stored models as a run with ``fecd`` does it, once on the images
    of the tasks just finished and once on the new ones; a strategy's own bank is read from its
    memory. The baseline is to take the teacher itself for each prior model. Strategies that do
    not learn later tasks have nothing to estimate and are left out.

    Nothing is learned anew. Three files are added to the folder: ``diagnosis.json``,
    ``diagnosis.csv`` and ``pictures/estimation_error.png``.

    Args:
        folder: of a finished run of at least 3 tasks.
        progress: whether to show a progress bar.

    Returns:
        The numbers.

    Raises:
        UnfitRunError: if the folder is not a run's, the run is unfinished, has fewer than 3 tasks
            or no strategy that learns later tasks.
        ConfigError: if its config does not hold any more.
    """
    run = StoredRun(folder)
    apply_torch_settings(run.config)
    learning = learning_strategies(run)
    rows: list[EstimationRow] = []
    model_bytes = 0
    steps = len(learning) * (len(run.scenario) - 2)
    with tqdm(total=steps, desc="diagnose", disable=not progress) as bar:
        for label, strategy in learning.items():
            stored = run.read_strategy(label, strategy)
            model_bytes = stored.bytes_of_priors
            for task, candidates in candidates_by_task(run, stored):
                models = stored.models[: task.number - 1]
                rows += compare(run.config, label, models, task.number, task, candidates)
                bar.update()
    diagnosis = Diagnosis(run.config.name, batch_size(run.config), model_bytes, tuple(rows))
    write_diagnosis(diagnosis, run.files)
    return diagnosis


def learning_strategies(run: StoredRun) -> dict[str, Strategy]:
    """The strategies with prior models to estimate, or an UnfitRunError if there is none."""
    place, tasks = run.folder, len(run.scenario)
    if tasks < 3:
        raise UnfitRunError(
            f"{place} has {counted(tasks, 'task')}, and only from the third task on is there a "
            f"prior model besides the teacher: diagnose a run of at least 3{_with_more(run)}"
        )
    if run.config.trained_start:
        raise UnfitRunError(
            f"{place} began with a trained model, which is not one of its stages: only runs that "
            "learned their first task from scratch can be diagnosed"
        )
    strategies = run.built_strategies()
    learning = {label: s for label, s in strategies.items() if s.later_images != "none"}
    if not learning:
        raise UnfitRunError(
            f"{place} has no strategy that learns later tasks, only {', '.join(strategies)}: all "
            "models are the same and there is nothing to estimate"
        )
    return learning


def _with_more(run: StoredRun) -> str:
    """How to have more tasks, where there is a command for it."""
    root = run.config.dataset.kwargs.get("root")
    if run.config.dataset.class_name != "ImageFolder":
        return ""
    return (
        f"; pml-incremental init OTHER_NAME --data {root} --tasks 3 writes a config of such a run"
    )


def compare(
    config: ExperimentConfig,
    label: str,
    models: Sequence[Teacher],
    number: int,
    images_of: Task,
    candidates: Sequence[Candidate],
) -> Iterator[EstimationRow]:
    """All candidates against the real prior models, the last one being the teacher of a task."""
    *priors, teacher = models
    splits: dict[Split, TaskSubset] = {
        "train": images_of.train.with_transform(images_of.test.transform),
        "test": images_of.test,
    }
    for split, images in splits.items():
        embedded = embed_task(images, teacher, priors, batch_size(config), config.seed)
        drifts = embedded.drifts()
        for candidate in candidates:
            qualities = embedded.qualities(candidate)
            for k, (quality, drift) in enumerate(zip(qualities, drifts, strict=True), 1):
                yield EstimationRow(
                    strategy=label,
                    task=number,
                    model=k,
                    images=split,
                    estimator=candidate.name,
                    observed_on=candidate.observed_on,
                    divergence=quality.divergence,
                    correlation=quality.correlation,
                    drift=drift,
                    nbytes=candidate.nbytes,
                )


def write_diagnosis(diagnosis: Diagnosis, folder: RunFolder) -> None:
    """Write ``diagnosis.json``, ``diagnosis.csv`` and ``pictures/estimation_error.png``."""
    folder.write_json("diagnosis.json", diagnosis.to_dict())
    folder.write_text("diagnosis.csv", as_csv(diagnosis))
    _draw(diagnosis, folder)


def as_csv(diagnosis: Diagnosis) -> str:
    """A line for each row, under a line of names."""
    lines = [{**asdict(row), "age": row.age} for row in diagnosis.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _draw(diagnosis: Diagnosis, folder: RunFolder) -> None:
    panels = {
        strategy: {
            heading: diagnosis.divergence_by_age(strategy, observed_on, "test")
            for observed_on, heading in _PANELS.items()
        }
        for strategy in diagnosis.strategies
    }
    title = f"{diagnosis.name}: divergence from real prior models, held-out images"
    plot_estimation_error(panels, folder.file("pictures/estimation_error.png"), title)
