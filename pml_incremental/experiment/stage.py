"""A strategy learning a task: its files, its images, and what is done around the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.learn import TrainingWatch, learn_task, trained_model
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.strategy_memory import share_training_states
from pml_incremental.experiment.student import Student
from pml_incremental.scenarios import Task, TaskSubset, join_subsets
from pml_incremental.strategies import Strategy
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class Stage:
    """A strategy's model after a task; file names are relative to the run's folder."""

    label: str  # the strategy's name in tables and folders
    strategy: Strategy  # what the task is learned with
    task: Task  # the task learned last

    @property
    def is_shared(self) -> bool:
        """Whether it is common to all strategies, as the first one may be."""
        return self.task.number == 1 and self.strategy.shares_first_task

    @property
    def who(self) -> str:
        """Whose it is, for people."""
        return "all strategies" if self.is_shared else self.label

    @property
    def folder(self) -> str:
        """Where the model is."""
        return self.task.name if self.is_shared else self._own_folder

    @property
    def weights_file(self) -> str:
        """The model's weights."""
        return f"{self.folder}/model.safetensors"

    @property
    def evaluation_file(self) -> str:
        """What the model can do; written after it, so the model of a stage that has it is whole."""
        return f"{self.folder}/evaluation.json"

    @property
    def checkpoint_file(self) -> str:
        """The state of training until all other files are written."""
        return f"{self.folder}/checkpoint.safetensors"

    @property
    def memory_file(self) -> str:
        """What the strategy remembers after the task."""
        return f"{self._own_folder}/memory.safetensors"

    @property
    def report_file(self) -> str:
        """What the records say of that memory."""
        return f"{self._own_folder}/memory.json"

    @property
    def _own_folder(self) -> str:
        return f"{self.label}/{self.task.name}"


def training_images(strategy: Strategy, seen: Sequence[Task]) -> TaskSubset | None:
    """What a strategy learns the last of the seen tasks from."""
    *earlier, task = seen
    wanted = strategy.images_of(task.number)
    if wanted == "none":
        return None
    if wanted == "seen":
        return join_subsets([task.train for task in seen])
    kept = [part for component in strategy.components for part in component.exemplars(earlier)]
    return join_subsets([task.train, *kept])


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
    """Learn a task from the images that the strategy takes, if it takes any."""
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
    if prior.teacher is not None and components:
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
