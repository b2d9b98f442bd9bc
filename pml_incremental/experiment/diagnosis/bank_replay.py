"""The banks that a run would have had, made from its stored models, as candidates to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import get_args

from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.experiment.diagnosis.stored_run import StoredRun, StoredStrategy
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.report.estimation_error_plot import TEACHER_ITSELF
from pml_incremental.scenarios import Task
from pml_incremental.strategies.accuracy_ranges import accuracy_ranges
from pml_incremental.strategies.bank_update import Sees, feature_pairs
from pml_incremental.strategies.estimation import Estimation, ObservedOn
from pml_incremental.strategies.fecd import fecd

#: Estimators and what they see; the first two learn nothing from more than the embeddings.
REPLAYED: tuple[tuple[str, Sees], ...] = (
    ("AccuracyChangeEstimator", "embeddings"),
    ("DriftEstimator", "embeddings"),
    ("LinearEstimator", "embeddings"),
    ("LinearEstimator", "trunk"),
    ("MLPEstimator", "embeddings"),
    ("MLPEstimator", "trunk"),
)
OBSERVED_ON: tuple[ObservedOn, ...] = get_args(ObservedOn)


def candidates_by_task(
    run: StoredRun, stored: StoredStrategy
) -> Iterator[tuple[Task, list[Candidate]]]:
    """The teacher and every bank, as they were while a task from the third on was learned."""
    replays = {on: [estimation_of_fecd(*spec, on) for spec in REPLAYED] for on in OBSERVED_ON}
    for task in run.scenario[2:]:
        for replayed in replays.values():
            update_banks(run, stored, task, replayed)
        candidates = [Candidate.of_teacher(task.number - 2)]
        candidates += [as_candidate(part) for part in chain(*replays.values())]
        own = own_estimations(run, stored, task)
        yield task, candidates + [as_candidate(part, "its own ") for part in own]


def estimation_of_fecd(estimator: str, sees: Sees, observed_on: ObservedOn) -> Estimation:
    """The component that ``fecd`` would have."""
    strategy = fecd(estimator=estimator, sees=sees, observed_on=observed_on)
    (component,) = (part for part in strategy.components if isinstance(part, Estimation))
    return component


def update_banks(
    run: StoredRun, stored: StoredStrategy, task: Task, replayed: Sequence[Estimation]
) -> None:
    """Carry banks over to the teacher of a task, with the random numbers of the task loop.

    All banks are given the same features, so that the images are gone through once.
    """
    leaving, coming = stored.models[task.number - 3 : task.number - 1]
    observed_on, passes = replayed[0].observed_on, replayed[0].passes
    number, scope = (task.number, 2) if observed_on == "new" else (task.number - 1, 1)
    seed_everything(run.config.seed, number, scope)
    observer = EstimatorBank()
    images = run.scenario[number - 1].train
    pairs = list(feature_pairs(observer, images, leaving, coming, "trunk", passes))
    width = observer.embedding_width
    ranges = accuracy_ranges(stored.measurements[: task.number])
    for part in replayed:
        if part.sees == "trunk":
            part.bank.embedding_width = width
            part.bank.update(pairs)
        else:
            part.bank.update((old[:, :width], new[:, :width]) for old, new in pairs)
        if part.bank.needs_ranges:
            part.bank.set_ranges(ranges)


def own_estimations(run: StoredRun, stored: StoredStrategy, task: Task) -> Iterator[Estimation]:
    """The strategy's own components with banks as they were while it learned a task."""
    for component in stored.strategy.components:
        if isinstance(component, Estimation):
            # Observing new images, it updates when the task begins, else when the last one ends.
            number = task.number if component.observed_on == "new" else task.number - 1
            run.restore(stored, component, run.scenario[number - 1])
            yield component


def as_candidate(part: Estimation, whose: str = "") -> Candidate:
    """A component's bank as it is now, named by its estimator and what that sees."""
    estimator = part.bank.state_dict()["estimator"].split(":")[-1]
    seen = ", trunk" if part.sees == "trunk" else ""
    return Candidate.of_bank(f"{whose}{estimator}{seen}", part.observed_on, part.bank)


@dataclass(frozen=True)
class Candidate:
    """Something that estimates all prior models."""

    name: str  # of the estimator
    observed_on: str
    estimate: Callable[[Tensor], Tensor]
    sees_trunk: bool  # whether the features are the embeddings followed by the trunk's output
    nbytes: int  # what is stored for all prior models

    @classmethod
    def of_bank(cls, name: str, observed_on: str, bank: EstimatorBank) -> Candidate:
        """A bank of estimators, as it is now."""
        sees_trunk = bank.embedding_width is not None
        return cls(name, observed_on, bank.estimate, sees_trunk, bank.nbytes)

    @classmethod
    def of_teacher(cls, models: int) -> Candidate:
        """The teacher in place of each of so many prior models."""
        return cls(TEACHER_ITSELF, "", lambda features: features.expand(models, -1, -1), False, 0)
