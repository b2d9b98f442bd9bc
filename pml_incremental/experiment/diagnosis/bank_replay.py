"""The banks that a run would have had, made from its stored models, as candidates to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pml_incremental.config import ConfigError
from pml_incremental.estimators import EstimatorBank
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.running.measurements import Measurements
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.running.stage import Stage, load_component
from pml_incremental.metrics import (
    correlation_divergence,
    off_diagonal_correlation,
    relative_drift,
)
from pml_incremental.report.results import TEACHER_ITSELF
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.strategies import Component, Strategy
from pml_incremental.strategies.estimation import (
    Estimation,
    EstimatorImages,
    EstimatorInput,
    accuracy_ranges,
    feature_pairs,
)
from pml_incremental.strategies.fecd import fecd
from pml_incremental.trainers import Teacher

#: Estimators and what they see; the first two learn nothing from more than the embeddings.
REPLAYED: tuple[tuple[str, EstimatorInput], ...] = (
    ("AccuracyChangeEstimator", "embeddings"),
    ("DriftEstimator", "embeddings"),
    ("LinearEstimator", "embeddings"),
    ("LinearEstimator", "trunk"),
    ("MLPEstimator", "embeddings"),
    ("MLPEstimator", "trunk"),
)
OBSERVED_ON: tuple[EstimatorImages, ...] = get_args(EstimatorImages)


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


def estimation_of_fecd(
    estimator: str, estimator_input: EstimatorInput, observed_on: EstimatorImages
) -> Estimation:
    """The component that ``fecd`` would have."""
    strategy = fecd(
        estimator=estimator, estimator_input=estimator_input, estimator_images=observed_on
    )
    (component,) = (part for part in strategy.components if isinstance(part, Estimation))
    return component


def update_banks(
    run: StoredRun, stored: StoredStrategy, task: Task, replayed: Sequence[Estimation]
) -> None:
    """Carry banks over to the teacher of a task, with the random numbers of the task loop."""
    leaving, coming = stored.models[task.number - 3 : task.number - 1]
    observed_on = replayed[0].estimator_images
    number, scope = (task.number, 2) if observed_on == "new" else (task.number - 1, 1)
    seed_everything(run.config.seed, number, scope)
    teach_banks(replayed, run.scenario[number - 1].train, leaving, coming)
    ranges = accuracy_ranges(stored.measurements[: task.number])
    for part in replayed:
        if part.bank.needs_ranges:
            part.bank.set_ranges(ranges)


def teach_banks(
    parts: Sequence[Estimation], images: TaskSubset, leaving: Teacher, coming: Teacher
) -> None:
    """Let banks learn a step from a model to the next from images, gone through once for all."""
    observer = EstimatorBank()
    pairs = list(feature_pairs(observer, images, leaving, coming, "trunk", parts[0].passes))
    width = observer.embedding_width
    for part in parts:
        if part.estimator_input == "trunk":
            part.bank.embedding_width = width
            part.bank.update(pairs)
        else:
            part.bank.update((old[:, :width], new[:, :width]) for old, new in pairs)


def own_estimations(run: StoredRun, stored: StoredStrategy, task: Task) -> Iterator[Estimation]:
    """The strategy's own components with banks as they were while it learned a task."""
    for component in stored.strategy.components:
        if isinstance(component, Estimation):
            # Observing new images, it updates when the task begins, else when the last one ends.
            number = task.number if component.estimator_images == "new" else task.number - 1
            run.restore(stored, component, run.scenario[number - 1])
            yield component


def as_candidate(part: Estimation, whose: str = "") -> Candidate:
    """A component's bank as it is now, named by its estimator and what that sees."""
    estimator = part.bank.state_dict()["estimator"].split(":")[-1]
    seen = ", trunk" if part.estimator_input == "trunk" else ""
    return Candidate.of_bank(f"{whose}{estimator}{seen}", part.estimator_images, part.bank)


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


@dataclass(frozen=True)
class Quality:
    """How near an estimate of one prior model is to it, on average."""

    divergence: float  # mean of ``correlation_divergence``
    correlation: float  # mean over batches of ``off_diagonal_correlation``


@dataclass(frozen=True)
class EmbeddedTask:
    """What the teacher and all prior models make of the same images."""

    teacher: Tensor  # embeddings followed by the output of its trunk, shape (N, d + D)
    priors: Tensor  # embeddings of M_1 .. M_{t-2}, shape (K, N, d)
    batches: Sequence[Tensor]  # positions of the images that are compared with each other

    @property
    def embeddings(self) -> Tensor:
        """The teacher's embeddings, shape (N, d)."""
        return self.teacher[:, : self.priors.shape[2]]

    def drifts(self) -> list[float]:
        """Mean relative change of features from each prior model to the teacher."""
        return [relative_drift(prior, self.embeddings).mean().item() for prior in self.priors]

    def qualities(self, candidate: Candidate) -> list[Quality]:
        """The quality of a candidate's estimate of each prior model, oldest first."""
        features = self.teacher if candidate.sees_trunk else self.embeddings
        estimates = [candidate.estimate(features[batch]) for batch in self.batches]
        return [
            mean_quality([found[k] for found in estimates], [prior[b] for b in self.batches])
            for k, prior in enumerate(self.priors)
        ]


def mean_quality(estimated: Sequence[Tensor], real: Sequence[Tensor]) -> Quality:
    """The quality of one prior model's estimate over batches of images."""
    pairs = list(zip(estimated, real, strict=True))
    divergences = torch.cat([correlation_divergence(*pair) for pair in pairs])
    correlations = torch.stack([off_diagonal_correlation(*pair) for pair in pairs])
    return Quality(divergences.mean().item(), correlations.mean().item())


def embed_task(
    images: TaskSubset, teacher: Teacher, priors: Sequence[Teacher], batch_size: int, seed: int
) -> EmbeddedTask:
    """Run the teacher and all prior models on the same images."""
    device = next(teacher.trunk.parameters()).device
    rows = []
    for batch, _ in DataLoader(images, batch_size=128):
        on_device = batch.to(device)
        features = torch.cat(teacher.embed_with_features(on_device), dim=1)
        rows.append((features.cpu(), [prior.embed(on_device).cpu() for prior in priors]))
    return EmbeddedTask(
        torch.cat([features for features, _ in rows]),
        torch.cat([torch.stack(embeddings) for _, embeddings in rows], dim=1),
        list(equal_parts(len(images), batch_size, seed)),
    )


def equal_parts(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Positions from 0 in a random order, in parts of nearly equal size."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    yield from order.tensor_split(max(1, round(count / size)))


class UnfitRunError(ValueError):
    """A folder does not hold a run that can be looked at in the way asked for."""


@dataclass(frozen=True)
class StoredStrategy:
    """One strategy of a finished run."""

    label: str  # its name in tables and folders
    strategy: Strategy  # built anew, its components without memory
    models: list[Teacher]  # M_1 .. M_T, frozen
    measurements: list[Measurements]  # of the model before any task and after each

    @property
    def bytes_of_priors(self) -> int:
        """What storing M_1 .. M_{T-2} for the last task takes."""
        return bytes_of(self.models[:-2])


def bytes_of(models: Sequence[Teacher]) -> int:
    """What storing models takes."""
    return sum(
        tensor.nbytes
        for model in models
        for module in model.models().values()
        for tensor in module.state_dict().values()
    )


class StoredRun(FinishedRun):
    """A finished run whose every stage is there."""

    def __init__(self, path: str | Path) -> None:
        try:
            super().__init__(Path(path))
        except ConfigError:
            raise
        except ValueError as error:
            raise UnfitRunError(str(error)) from error
        self.files = RunFolder.opened(self.folder)
        self._check_stages()

    def read_strategy(self, label: str, strategy: Strategy) -> StoredStrategy:
        """All models of a strategy and what they can do."""
        models = []
        measurements: list[Measurements] = [self.files.read_json("before/evaluation.json")]
        for task in self.scenario:
            models.append(Teacher(**self.models(label, task.number)))
            stage = Stage(label, strategy, task)
            measurements.append(self.files.read_json(stage.evaluation_file))
        return StoredStrategy(label, strategy, models, measurements)

    def restore(self, stored: StoredStrategy, component: Component, task: Task) -> None:
        """Give a component of the strategy the memory that it had after a task."""
        stage = Stage(stored.label, stored.strategy, task)
        load_component(stored.strategy, component, self.files.read_tensors(stage.memory_file))

    def _check_stages(self) -> None:
        for label, strategy in self.built_strategies().items():
            has_bank = any(isinstance(part, Estimation) for part in strategy.components)
            for task in self.scenario:
                stage = Stage(label, strategy, task)
                needed = [stage.evaluation_file, stage.weights_file]
                needed += [stage.memory_file] if has_bank else []
                for name in needed:
                    if not self.files.has(name):
                        raise UnfitRunError(
                            f"{self.folder} is not finished: {name} is missing; continue the "
                            "run with the command that started it"
                        )
