"""Learning a stage: the strategy's part around the training of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.learn import learn_task, trained_model
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.stage import Stage
from pml_incremental.experiment.strategy_memory import share_training_states
from pml_incremental.experiment.student import Student
from pml_incremental.experiment.training_images import training_images
from pml_incremental.experiment.training_watch import TrainingWatch
from pml_incremental.scenarios import Task
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class Priors:
    """The last model and the one before it; None where there is none."""

    teacher: Teacher | None = None
    previous: Teacher | None = None


def train_stage(
    config: ExperimentConfig,
    stage: Stage,
    seen: Sequence[Task],
    student: Student,
    prior: Priors,
    watch: TrainingWatch,
) -> None:
    """Learn a task from the images that the strategy takes, if it takes any.

    Args:
        config: how tasks are learned.
        stage: the strategy and the task.
        seen: the tasks so far, the stage's last.
        student: the models as the previous task left them, grown for the task's classes.
        prior: the models before it.
        watch: how the training is saved, shown and recorded.
    """
    task, strategy = stage.task, stage.strategy
    images = training_images(strategy, seen)
    if images is None:
        return
    components = strategy.components
    if prior.teacher is None and not strategy.observes_training:
        components = ()
    beside = begin_task(config.seed, stage, prior)
    if beside is not None:
        share_training_states(components, student.processes)
    learn_task(config, task, images, student, beside, components, watch)
    if prior.teacher is not None:
        trained = trained_model(config, student, images)
        for component in components:
            component.after_training(trained, prior.teacher)


def begin_task(seed: int, stage: Stage, prior: Priors) -> Teacher | None:
    """The model to learn a task beside, once the strategy's components are prepared."""
    task, strategy = stage.task, stage.strategy
    teacher = prior.teacher if strategy.has_teacher else None
    if teacher is None:
        return None
    if strategy.moves_teacher:
        # The model before the task stays as it was.
        teacher = Teacher.snapshot(teacher.models())
    # In a stream of its own: what a component draws must not change the training batches.
    seed_everything(seed, task.number, 2)
    for component in strategy.components:
        teacher = component.begin_task(task, prior.previous, teacher)
    seed_everything(seed, task.number)
    return teacher
