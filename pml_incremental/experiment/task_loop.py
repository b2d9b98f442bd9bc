"""The loop over tasks: learn, evaluate, make the student the next teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pml_incremental.config import ConfigError, ExperimentConfig, ObjectSpec
from pml_incremental.experiment.assembly import build_scenario, choose_device
from pml_incremental.experiment.environment import describe_environment
from pml_incremental.experiment.learn import learn_task
from pml_incremental.experiment.retrievals import draw_retrievals
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.student import Student
from pml_incremental.experiment.trained import trained_model
from pml_incremental.experiment.training_images import training_images
from pml_incremental.metrics import TaskMatrix
from pml_incremental.models import tensors_under
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.strategies import FinishedTask, Strategy
from pml_incremental.testers import Evaluation, IncrementalTester
from pml_incremental.trainers import Teacher

# {"own/recall_at_1": {"task_1": 0.9, ...}, "joint/recall_at_1": {...}, ...}; None: not measured.
Measurements = dict[str, dict[str, float | None]]


def spec_label(spec: ObjectSpec) -> str:
    """A strategy's name in tables and folders: its name and its options.

    Example:
        >>> spec_label(ObjectSpec(class_name="correlation", kwargs={"weight": 5}))
        'correlation-weight_5'
        >>> spec_label(ObjectSpec(class_name="l2+ewc", kwargs={"ewc": {"weight": 5}}))
        'l2+ewc-ewc.weight_5'
    """
    return "-".join([spec.class_name, *_options(spec.kwargs)])


def _options(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Options in words; those of a part of a sum begin with the part's name."""
    words = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict):
            words += _options(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}_{value}")
    return words


@dataclass(frozen=True)
class Priors:
    """The last model and the one before it; None where there is none."""

    teacher: Teacher | None = None
    previous: Teacher | None = None


@dataclass(frozen=True)
class TaskLoop:
    """One run: its data, its folder, and the loop over tasks."""

    config: ExperimentConfig
    scenario: ClassIncrementalScenario
    folder: RunFolder
    tester: IncrementalTester
    device: torch.device
    progress: bool
    draws: bool = True

    @classmethod
    def set_up(cls, config: ExperimentConfig, progress: bool) -> TaskLoop:
        """Build the data and claim the folder."""
        for spec in config.strategies:
            build_strategy(config, spec)  # to find what does not fit before anything is learned
        device = choose_device(config.device)
        seed_everything(config.seed)
        scenario = build_scenario(config)
        folder = RunFolder(Path(config.output) / config.name, config.to_yaml_dict())
        folder.write_json("environment.json", describe_environment(device))
        tester = config.tester.build("tester", data_device=device, dataloader_num_workers=0)
        return cls(config, scenario, folder, tester, device, progress)

    def learn_strategy(self, spec: ObjectSpec) -> dict[str, TaskMatrix]:
        """All tasks with one strategy."""
        label = spec_label(spec)
        strategy = build_strategy(self.config, spec)
        student = self.new_student()
        rows = [self.evaluate_before(student)]
        prior = Priors()
        for task in self.scenario:
            rows.append(self.learn_stage(label, task, student, prior, strategy))
            frozen = Teacher.snapshot(student.models)
            finished = FinishedTask(task, prior.teacher, frozen, self.device, rows)
            self.remember(label, finished, student, strategy)
            prior = Priors(teacher=frozen, previous=prior.teacher)
        if self.draws:
            picture = self.folder.file(f"pictures/retrieval_{label}.png")
            draw_retrievals(picture, label, self.scenario, self.tester, student.models)
        return self.matrices(rows)

    def learn_start(self) -> None:
        """What strategies share: the evaluation before any task, and the first task."""
        plain = Strategy()
        student = self.new_student()
        self.evaluate_before(student)
        self.learn_stage("", self.scenario[0], student, Priors(), plain)

    def new_student(self) -> Student:
        """The student before any task; always the same."""
        seed_everything(self.config.seed, 0)
        return Student(self.config, self.scenario[0], self.device)

    def evaluate_before(self, student: Student) -> Measurements:
        """What the untrained (or pretrained) model can do."""
        name = "before/evaluation.json"
        found: Measurements | None = self.folder.read_json(name)
        if found is None:
            found = self.evaluate(student, seen=0)
            self.folder.write_json(name, found)
        return found

    def learn_stage(
        self, label: str, task: Task, student: Student, prior: Priors, strategy: Strategy
    ) -> Measurements:
        """Learn and evaluate a task, or take both from the folder."""
        stage = stage_folder(label, strategy, task)
        found: Measurements | None = self.folder.read_json(f"{stage}/evaluation.json")
        seed_everything(self.config.seed, task.number)
        student.grow(task.labels.stop)
        # What a component saw in training is gone unless its memory was stored.
        has_seen = not strategy.observes_training or self.folder.has(memory_file(label, task))
        if found is not None and has_seen:
            student.load(self.folder.read_tensors(f"{stage}/model.safetensors"))
            return found
        who = "all strategies" if stage == task.name else label
        description = f"{who} · task {task.number}/{len(self.scenario)}"
        self.train(task, student, prior, strategy, description)
        self.folder.write_tensors(f"{stage}/model.safetensors", student.tensors())
        found = self.evaluate(student, seen=task.number)
        self.folder.write_json(f"{stage}/evaluation.json", found)
        return found

    def train(
        self,
        task: Task,
        student: Student,
        prior: Priors,
        strategy: Strategy,
        description: str,
    ) -> None:
        """Learn a task from the images that the strategy takes, if it takes any."""
        images = training_images(strategy, self.scenario.seen(task.number))
        if images is None:
            return
        components = strategy.components
        if task.number == 1 and not strategy.observes_training:
            components = ()
        beside = self.begin_task(task, prior, strategy)
        learn_task(
            self.config, task, images, student, beside, components, description, self.progress
        )
        if prior.teacher is not None:
            trained = trained_model(self.config, student, images)
            for component in components:
                component.after_training(trained, prior.teacher)

    def begin_task(self, task: Task, prior: Priors, strategy: Strategy) -> Teacher | None:
        """The model to learn a task beside, once the strategy's components are prepared."""
        teacher = prior.teacher if strategy.has_teacher else None
        if teacher is None:
            return None
        if strategy.moves_teacher:
            # The model before the task stays as it was.
            teacher = Teacher.snapshot(teacher.models())
        # In a stream of its own: what a component draws must not change the training batches.
        seed_everything(self.config.seed, task.number, 2)
        for component in strategy.components:
            teacher = component.begin_task(task, prior.previous, teacher)
        seed_everything(self.config.seed, task.number)
        return teacher

    def remember(
        self, label: str, finished: FinishedTask, student: Student, strategy: Strategy
    ) -> None:
        """Let the strategy's components see the finished task, or take what they kept of it."""
        name = memory_file(label, finished.task)
        if self.folder.has(name):
            _load_memory(strategy, self.folder.read_tensors(name))
            return
        seed_everything(self.config.seed, finished.task.number, 1)
        images = training_images(strategy, self.scenario.seen(finished.task.number))
        for component in strategy.components:
            assert images is not None  # a strategy with components trains on every task
            component.measure(trained_model(self.config, student, images))
            component.end_task(finished)
            if report := component.report():
                self.folder.write_json(f"{label}/{finished.task.name}/memory.json", report)
        memory = _memory(strategy)
        if memory:
            self.folder.write_tensors(name, memory)

    def evaluate(self, student: Student, seen: int) -> Measurements:
        """Own-gallery values for every task, joint-gallery values for those seen."""
        evaluation: Evaluation = self.tester.evaluate(
            {task.name: task.test for task in self.scenario},
            student.models["trunk"],
            student.models["embedder"],
            seen=[task.name for task in self.scenario][:seen],
        )
        galleries = {"own": evaluation.own, "joint": evaluation.joint}
        if self.tester.searches_by_index:
            recall = dict.fromkeys(evaluation.labels, evaluation.recall_of_index)
            galleries["joint"] = {**evaluation.joint, "recall_of_index": recall}
        return {
            f"{gallery}/{metric}": {
                task: None if math.isnan(value) else value for task, value in values.items()
            }
            for gallery, metrics in galleries.items()
            for metric, values in metrics.items()
        }

    def matrices(self, rows: list[Measurements]) -> dict[str, TaskMatrix]:
        """One matrix per metric, from one row per model: before and after each task."""

        def row_values(row: Measurements, metric: str) -> list[float]:
            values = [row[metric][task.name] for task in self.scenario]
            return [math.nan if value is None else value for value in values]

        return {metric: TaskMatrix([row_values(row, metric) for row in rows]) for metric in rows[0]}


def build_strategy(config: ExperimentConfig, spec: ObjectSpec) -> Strategy:
    """The strategy that a config names.

    Raises:
        ConfigError: if it needs a classifier and the config has none.
    """
    strategy: Strategy = spec.build("strategy")
    if strategy.needs_classifier and config.models.classifier is None:
        raise ConfigError(
            [
                f"strategies: {spec.class_name} compares logits and the config has no classifier; "
                "add models.classifier (GrowingClassifier), its optimizer, "
                "loss_funcs.classifier_loss and the trainer IncrementalTrainWithClassifier, or "
                "leave it out"
            ]
        )
    return strategy


def stage_folder(label: str, strategy: Strategy, task: Task) -> str:
    """Where a strategy's model after a task is; the first may be common to all strategies."""
    is_shared = task.number == 1 and strategy.shares_first_task
    return task.name if is_shared else f"{label}/{task.name}"


def memory_file(label: str, task: Task) -> str:
    """Where a strategy's memory after a task is."""
    return f"{label}/{task.name}/memory.safetensors"


def _memory(strategy: Strategy) -> dict[str, Tensor]:
    return {
        f"{index}.{key}": tensor
        for index, component in enumerate(strategy.components)
        for key, tensor in component.state_dict().items()
    }


def _load_memory(strategy: Strategy, memory: dict[str, Tensor]) -> None:
    for index, component in enumerate(strategy.components):
        component.load_state_dict(tensors_under(f"{index}.", memory))
