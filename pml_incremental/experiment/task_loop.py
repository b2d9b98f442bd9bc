"""The loop over tasks: learn, evaluate, make the student the next teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.experiment.assembly import build_scenario, choose_device
from pml_incremental.experiment.environment import describe_environment
from pml_incremental.experiment.learn import learn_task
from pml_incremental.experiment.retrievals import draw_retrievals
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.student import Student
from pml_incremental.metrics import TaskMatrix
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
    """
    options = [f"{key}_{value}" for key, value in sorted(spec.kwargs.items())]
    return "-".join([spec.class_name, *options])


@dataclass(frozen=True)
class TaskLoop:
    """One run: its data, its folder, and the loop over tasks."""

    config: ExperimentConfig
    scenario: ClassIncrementalScenario
    folder: RunFolder
    tester: IncrementalTester
    device: torch.device
    progress: bool

    @classmethod
    def set_up(cls, config: ExperimentConfig, progress: bool) -> TaskLoop:
        """Build the data and claim the folder."""
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
        strategy: Strategy = spec.build("strategy")
        student = self.new_student()
        rows = [self.evaluate_before(student)]
        for task in self.scenario:
            teacher = Teacher.snapshot(student.models) if task.number > 1 else None
            rows.append(self.learn_stage(label, task, student, teacher, strategy))
            frozen = Teacher.snapshot(student.models)
            finished = FinishedTask(task, teacher, frozen, self.device, rows)
            self.remember(label, finished, strategy)
        picture = self.folder.file(f"pictures/retrieval_{label}.png")
        draw_retrievals(picture, label, self.scenario, self.tester, student.models)
        return self.matrices(rows)

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
        self, label: str, task: Task, student: Student, teacher: Teacher | None, strategy: Strategy
    ) -> Measurements:
        """Learn and evaluate a task, or take both from the folder."""
        is_shared = teacher is None
        stage = task.name if is_shared else f"{label}/{task.name}"
        found: Measurements | None = self.folder.read_json(f"{stage}/evaluation.json")
        if found is not None:
            student.grow(task.labels.stop)
            student.load(self.folder.read_tensors(f"{stage}/model.safetensors"))
            return found
        who = "all strategies" if is_shared else label
        description = f"{who} · task {task.number}/{len(self.scenario)}"
        learn_task(
            self.config, task, student, teacher, strategy.components, description, self.progress
        )
        self.folder.write_tensors(f"{stage}/model.safetensors", student.tensors())
        found = self.evaluate(student, seen=task.number)
        self.folder.write_json(f"{stage}/evaluation.json", found)
        return found

    def remember(self, label: str, finished: FinishedTask, strategy: Strategy) -> None:
        """Let the strategy's components see the finished task, or take what they kept of it."""
        name = f"{label}/{finished.task.name}/memory.safetensors"
        if self.folder.file(name).exists():
            _load_memory(strategy, self.folder.read_tensors(name))
            return
        seed_everything(self.config.seed, finished.task.number, 1)
        for component in strategy.components:
            component.end_task(finished)
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


def _memory(strategy: Strategy) -> dict[str, Tensor]:
    return {
        f"{index}.{key}": tensor
        for index, component in enumerate(strategy.components)
        for key, tensor in component.state_dict().items()
    }


def _load_memory(strategy: Strategy, memory: dict[str, Tensor]) -> None:
    for index, component in enumerate(strategy.components):
        prefix = f"{index}."
        component.load_state_dict(
            {key[len(prefix) :]: v for key, v in memory.items() if key.startswith(prefix)}
        )
