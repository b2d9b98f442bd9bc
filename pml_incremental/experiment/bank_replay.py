"""The banks that a run would have had, made from its stored models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from pml_incremental.estimators import EstimatorBank
from pml_incremental.experiment.candidates import Candidate
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.stored_run import StoredRun, StoredStrategy
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.scenarios import Task
from pml_incremental.strategies.accuracy_ranges import Range, accuracy_ranges
from pml_incremental.strategies.estimation import Estimation, ObservedOn

REPLAYED = ("AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator")
OBSERVED_ON: tuple[ObservedOn, ...] = get_args(ObservedOn)


def candidates_by_task(
    run: StoredRun, stored: StoredStrategy
) -> Iterator[tuple[Task, list[Candidate]]]:
    """The teacher itself and every bank, as they were while a task from the third on was learned.

    Args:
        run: the run.
        stored: one of its strategies.

    Yields:
        A task t and candidates for M_1 .. M_{t-2}. They are changed in place for the next task.
    """
    replayed = {
        observed_on: {name: EstimatorBank(name) for name in REPLAYED} for observed_on in OBSERVED_ON
    }
    for task in run.scenario[2:]:
        for observed_on, banks in replayed.items():
            replay_update(run, stored, task, observed_on, banks)
        yield (
            task,
            [
                Candidate.of_teacher(task.number - 2),
                *(
                    Candidate.of_bank(name, observed_on, bank)
                    for observed_on, banks in replayed.items()
                    for name, bank in banks.items()
                ),
                *own_banks(run, stored, task),
            ],
        )


def replay_update(
    run: StoredRun,
    stored: StoredStrategy,
    task: Task,
    observed_on: ObservedOn,
    banks: Mapping[str, EstimatorBank],
) -> None:
    """Carry banks over to the teacher of a task, with the random numbers of the task loop."""
    leaving, coming = stored.models[task.number - 3], stored.models[task.number - 2]
    images = task.train
    scope = (task.number, 2)
    if observed_on == "finished":
        images = run.scenario[task.number - 2].train
        scope = (task.number - 1, 1)
    seed_everything(run.config.seed, *scope)
    observer = Estimation(EstimatorBank(), FeatureEstimationLoss(), weight=0)
    pairs = list(observer.feature_pairs(images, leaving, coming))
    for bank in banks.values():
        bank.update(pairs)
        if bank.needs_ranges:
            bank.set_ranges(ranges_before(stored, task))


def ranges_before(stored: StoredStrategy, task: Task) -> dict[int, Range]:
    """The accuracy ranges measured when the task before was finished."""
    return accuracy_ranges(stored.measurements[: task.number])


def own_banks(run: StoredRun, stored: StoredStrategy, task: Task) -> Iterator[Candidate]:
    """The banks that the strategy itself had while it learned a task, if it has any."""
    for component in stored.strategy.components:
        if isinstance(component, Estimation):
            # Observing new images, it updates when the task begins, else when the last one ends.
            stage = task.number if component.observed_on == "new" else task.number - 1
            run.restore(stored, component, run.scenario[stage - 1])
            name = component.bank.state_dict()["estimator"].split(":")[-1]
            yield Candidate.of_bank(f"its own {name}", component.observed_on, component.bank)
