"""Learning one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.assembly import batch_size, build_optimizers
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.student import Student
from pml_incremental.scenarios import Task
from pml_incremental.strategies import Component
from pml_incremental.trainers import Teacher


def learn_task(
    config: ExperimentConfig,
    task: Task,
    student: Student,
    teacher: Teacher | None,
    components: Sequence[Component],
    description: str,
    progress: bool,
) -> None:
    """Train the student on the new images of one task, in place.

    Args:
        config: losses, optimizers, sampler, trainer and epochs.
        task: whose training images are used.
        student: the models as the previous task left them.
        teacher: a frozen copy of them, or None for the first task.
        components: what the strategy adds.
        description: text before the progress bar.
        progress: whether to show the bar.
    """
    seed_everything(config.seed, task.number)
    student.grow(task.labels.stop)
    loss_funcs, loss_weights = dict(student.losses), dict(config.loss_weights)
    for name in loss_funcs:
        loss_weights.setdefault(name, 1.0)
    if teacher is not None:
        for component in components:
            for name, weighted in component.losses(task).items():
                loss_funcs[name] = weighted.loss.to(student.device)
                loss_weights[name] = weighted.weight
    optimizers = build_optimizers(config.optimizers, student.modules())
    trainer = config.trainer.build(
        "trainer",
        batch_size=batch_size(config),
        dataloader_num_workers=0,
        models=dict(student.models),
        optimizers=optimizers,
        loss_funcs=loss_funcs,
        loss_weights=loss_weights,
        dataset=task.train,
        sampler=_build_sampler(config, task),
        mining_funcs={name: spec.build("miner") for name, spec in config.mining_funcs.items()},
        lr_schedulers={
            name: spec.build("lr_scheduler", optimizer=optimizers[_optimizer_of(name)])
            for name, spec in config.lr_schedulers.items()
        },
        gradient_clippers=_gradient_clippers(config, student),
        data_device=student.device,
        teacher=teacher,
        description=description,
        progress=progress,
    )
    trainer.train(num_epochs=epochs_of(config, task.number))


def epochs_of(config: ExperimentConfig, task_number: int) -> int:
    """Epochs of a task; the last entry of a list holds for all further tasks."""
    epochs = config.num_epochs
    return epochs if isinstance(epochs, int) else epochs[min(task_number, len(epochs)) - 1]


def _build_sampler(config: ExperimentConfig, task: Task) -> Any:
    if config.sampler is None:
        return None
    size = batch_size(config)
    return config.sampler.build(
        "sampler",
        labels=task.train.labels,
        batch_size=size,
        # PML's own default makes an epoch of 100,000 images, however few there are.
        length_before_new_iter=max(size, len(task.train)),
    )


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
