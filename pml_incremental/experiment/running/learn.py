"""Learning one task, and the model as that leaves it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pml_incremental.config import ExperimentConfig
from pml_incremental.distributed.processes import copy_from_rank_zero
from pml_incremental.experiment.assembly import (
    adapters_of,
    batch_size,
    build_optimizers,
    build_sampler,
)
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.running.task_checkpoint import TaskCheckpoint
from pml_incremental.experiment.student import Student
from pml_incremental.models import adapted, compiled
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.strategies import Component, TrainedModel
from pml_incremental.strategies.component import Batch
from pml_incremental.trainers import Compared, Penalty, Probes, Teacher
from pml_incremental.trainers.training_state import unchanged_random_state

logger = logging.getLogger(__name__)


def learn_task(
    config: ExperimentConfig,
    task: Task,
    images: TaskSubset,
    student: Student,
    teacher: Teacher | None,
    components: Sequence[Component],
    monitor: TrainingMonitor,
) -> None:
    """Train the student on one task, in place."""
    acting = components if teacher is not None else ()
    terms = loss_terms(config, task, student, acting)
    num_epochs = epochs_of(config, task.number)
    moving = teacher if any(component.moves_teacher for component in components) else None
    trunks = [student.models["trunk"], *([] if teacher is None else [teacher.trunk])]
    with adapting(config, task, student, acting) as defaults:
        trainer = build_trainer(
            config,
            images,
            student,
            terms,
            turned=max((component.turned for component in acting), default=0.0),
            observers=components,
            teacher=teacher,
            cache_folder=monitor.checkpoint.file.parent,
            processes=student.processes,
            checkpointer=monitor.checkpoint,
            description=monitor.description,
            progress=monitor.progress,
            end_of_iteration_hook=monitor.record,
            **defaults,
        )
        state = monitor.checkpoint.resume(components, moving, num_epochs)
        compiling = compiled(*trunks) if config.models.compile else nullcontext()
        with compiling, monitor.checkpoint.stop.waiting():
            trainer.train(num_epochs=num_epochs, state=state)
            # Equal already, except for BatchNorm's statistics where each process has its own.
            copy_from_rank_zero(student.modules().values(), student.processes)
    if trainer.skipped_batches:
        logger.warning(
            "%s: %d batches skipped in all", monitor.description, trainer.skipped_batches
        )


@contextmanager
def adapting(
    config: ExperimentConfig, task: Task, student: Student, components: Sequence[Component]
) -> Iterator[dict[str, Any]]:
    """Let an adapter, if there is one, learn a task; gives the trainer's defaults for that."""
    adapters = adapters_of(config, components)
    with ExitStack() as stack:
        for adapter in adapters:  # at most one
            with unchanged_random_state():  # of the batches
                seed_everything(config.seed, task.number, 3)
                stack.enter_context(adapted(student.models["trunk"], adapter()))
        # BatchNorm's statistics are weights of the trunk too.
        yield {"freeze_trunk_batchnorm": True} if adapters else {}


def build_trainer(
    config: ExperimentConfig, images: TaskSubset, student: Student, terms: LossTerms, **more: Any
) -> Any:
    """The config's trainer of a student."""
    optimizers = build_optimizers(config.optimizers, student.modules())
    return config.trainer.build(
        "trainer",
        batch_size=batch_size(config),
        dataloader_num_workers=0,
        models=dict(student.models),
        optimizers=optimizers,
        loss_funcs=terms.loss_funcs,
        loss_weights=terms.weights,
        compares=terms.compares,
        probes=terms.probes,
        penalties=terms.penalties,
        dataset=images,
        sampler=build_sampler(config, images),
        mining_funcs={name: spec.build("miner") for name, spec in config.mining_funcs.items()},
        lr_schedulers={
            name: spec.build("lr_scheduler", optimizer=optimizers[_optimizer_of(name)])
            for name, spec in config.lr_schedulers.items()
        },
        gradient_clippers=_gradient_clippers(config, student),
        data_device=student.device,
        **more,
    )


def trained_model(config: ExperimentConfig, student: Student, images: TaskSubset) -> TrainedModel:
    """The student at the end of a task, ready to be measured."""
    trainer = build_trainer(config, images, student, own_terms(config, student), progress=False)

    def batches() -> Iterator[Batch]:
        sampler = build_sampler(config, images)
        loader = DataLoader(
            images, batch_size(config), shuffle=sampler is None, sampler=sampler, drop_last=True
        )
        for data, labels in loader:
            yield data.to(student.device), labels.to(student.device)

    def embed(batch: Batch) -> Tensor:
        embeddings: Tensor = trainer.compute_embeddings(batch[0])
        return embeddings

    def loss(batch: Batch) -> Tensor:
        trainer.zero_losses()
        trainer.calculate_loss(batch)
        trainer.loss_tracker.update(trainer.loss_weights)
        total: Tensor = trainer.losses["total_loss"]
        return total

    return TrainedModel(student.modules(), batches, embed, loss, images)


def epochs_of(config: ExperimentConfig, task_number: int) -> int:
    """Epochs of a task; the last entry of a list holds for all further tasks."""
    epochs = config.num_epochs
    return epochs if isinstance(epochs, int) else epochs[min(task_number, len(epochs)) - 1]


def _optimizer_of(scheduler_name: str) -> str:
    return scheduler_name.split("_scheduler_by_")[0] + "_optimizer"


def _gradient_clippers(
    config: ExperimentConfig, student: Student
) -> dict[str, Callable[[], Any]] | None:
    norm = config.grad_clip_norm
    if norm is None:
        return None
    models = student.models

    def clip(name: str) -> Callable[[], Any]:
        return lambda: torch.nn.utils.clip_grad_norm_(models[name].parameters(), norm)

    return {f"{name}_grad_clipper": clip(name) for name in models}


@dataclass
class LossTerms:
    """The terms of the total loss, by name, as an incremental trainer takes them."""

    loss_funcs: dict[str, nn.Module]
    weights: dict[str, float]
    compares: dict[str, Compared] = field(default_factory=dict)
    probes: dict[str, Probes] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)

    def claim(self, name: str, weight: float) -> None:
        """Note a term's weight; ValueError if there is a term of that name."""
        if name in self.weights:
            raise ValueError(
                f"two parts of the strategy, or the strategy and loss_funcs, bring {name}: leave "
                "one out"
            )
        self.weights[name] = weight


def loss_terms(
    config: ExperimentConfig, task: Task, student: Student, components: Sequence[Component]
) -> LossTerms:
    """The config's losses and those of a strategy's components."""
    terms = own_terms(config, student)
    for component in components:
        for name, weighted in component.losses(task).items():
            terms.claim(name, weighted.weight)
            terms.loss_funcs[name] = weighted.loss.to(student.device)
            terms.compares[name] = weighted.compares
            if weighted.probes is not None:
                terms.probes[name] = weighted.probes
        for name, held in component.penalties(task).items():
            terms.claim(name, held.weight)
            terms.penalties[name] = held.penalty
    return terms


def own_terms(config: ExperimentConfig, student: Student) -> LossTerms:
    """The config's losses alone."""
    weights = {name: config.loss_weights.get(name, 1.0) for name in student.losses}
    return LossTerms(dict(student.losses), weights)


@dataclass(frozen=True)
class TrainingMonitor:
    """How a training is saved, shown and recorded."""

    checkpoint: TaskCheckpoint  # saves it, and is resumed if there is one
    description: str  # text before the progress bar
    progress: bool  # whether to show the bar
    record: Callable[[Any], None] | None = None  # called with the trainer after each iteration
