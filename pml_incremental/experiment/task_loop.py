"""The loop over tasks: learn, evaluate, make the student the next teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.config.strategy_labels import spec_label
from pml_incremental.distributed import Processes, own_device
from pml_incremental.distributed.processes import check_even
from pml_incremental.experiment.assembly import batch_size, choose_device
from pml_incremental.experiment.environment import describe_environment
from pml_incremental.experiment.learn import TrainingWatch, trained_model
from pml_incremental.experiment.measurements import Measurements, measure, task_matrices
from pml_incremental.experiment.outputs import draw_matrices
from pml_incremental.experiment.recipe import describe_model
from pml_incremental.experiment.retrievals import draw_retrievals
from pml_incremental.experiment.run_folder import RunFolder, SharedRunFolder
from pml_incremental.experiment.run_images import check_same_images
from pml_incremental.experiment.run_records import RunRecords
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.stage import Priors, Stage, train_stage, training_images
from pml_incremental.experiment.stop_signals import StopRequest
from pml_incremental.experiment.strategy_memory import (
    load_memory,
    pack_memory,
    report_of_memory,
    share_memory,
)
from pml_incremental.experiment.strategy_specs import build_strategy
from pml_incremental.experiment.student import Student
from pml_incremental.experiment.task_checkpoint import TaskCheckpoint
from pml_incremental.experiment.training_checks import checked_scenario
from pml_incremental.metrics import TaskMatrix
from pml_incremental.records import RecordWriter, record_name, record_task_summary
from pml_incremental.report.page.run_record import RETRIEVALS
from pml_incremental.scenarios import ClassIncrementalScenario
from pml_incremental.storage import remove_generations
from pml_incremental.strategies import FinishedTask, Strategy
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class TaskLoop:
    """One run: its data, its folder, and the loop over tasks.

    Several processes go through the same loop together: they share what is trained and embedded,
    and do the same with everything else, but for what the first one reads, searches and writes.
    """

    config: ExperimentConfig
    scenario: ClassIncrementalScenario
    folder: RunFolder
    tester: IncrementalTester
    device: torch.device
    records: RunRecords
    progress: bool
    stop: StopRequest
    processes: Processes = field(default_factory=Processes)
    draws: bool = True
    learned: list[str] = field(default_factory=list)

    @classmethod
    def set_up(
        cls,
        config: ExperimentConfig,
        progress: bool,
        stop: StopRequest,
        processes: Processes | None = None,
    ) -> TaskLoop:
        """Build the data and the folder."""
        processes = Processes() if processes is None else processes
        processes.on_first(lambda: check_even(batch_size(config), processes.size))
        device = own_device(choose_device(config.device), processes)
        scenario = checked_scenario(config)
        path = Path(config.output) / config.name
        folder = SharedRunFolder(path, config.to_yaml_dict(), processes)
        processes.on_first(lambda: check_same_images(folder, scenario))
        folder.write_json("environment.json", describe_environment(device, processes.size))
        tester = config.tester.build(
            "tester", data_device=device, dataloader_num_workers=0, processes=processes
        )
        records = RunRecords(config, folder.path / "records", processes.is_first)
        progress = progress and processes.is_first
        return cls(config, scenario, folder, tester, device, records, progress, stop, processes)

    def learn_strategy(self, spec: ObjectSpec) -> dict[str, TaskMatrix]:
        """All tasks with one strategy."""
        with self.records.open(f"{spec_label(spec)}/summary") as summary:
            return self.learn_tasks(spec, summary)

    def learn_tasks(self, spec: ObjectSpec, summary: RecordWriter) -> dict[str, TaskMatrix]:
        """All tasks with one strategy, each of which adds to the summary."""
        label = spec_label(spec)
        strategy = build_strategy(self.config, spec)
        for component in strategy.components:
            component.processes = self.processes
        student = self.new_student()
        rows = [self.evaluate_before(student)]
        matrices: dict[str, TaskMatrix] = {}
        prior = self.prior_to_tasks(student)
        for task in self.scenario:
            stage = Stage(label, strategy, task)
            rows.append(self.learn_stage(stage, student, prior))
            frozen = Teacher.snapshot(student.models)
            finished = FinishedTask(
                task, prior.teacher, frozen, self.device, rows, self.config.trained_start
            )
            self.remember(stage, finished, student)
            self.forget_checkpoint(stage)
            prior = Priors(teacher=frozen, previous=prior.teacher)
            matrices = task_matrices(rows, list(self.scenario))
            memory = self.folder.read_json(stage.report_file)
            record_finished_task(summary, task.number, matrices, memory)
        if self.draws:
            self.draw(label, matrices, student, summary)
        return matrices

    def draw(
        self, label: str, matrices: dict[str, TaskMatrix], student: Student, summary: RecordWriter
    ) -> None:
        """What the last model finds and, if there are records, the matrices."""
        picture = self.folder.file(RETRIEVALS.format(label))
        draw_retrievals(picture, label, self.scenario, self.tester, student.models)
        if self.records.wanted:
            pictures = {"retrieval": picture, **draw_matrices(label, matrices, self.folder)}
            record_pictures(summary, pictures, len(self.scenario))

    def learn_start(self) -> None:
        """What strategies share: the evaluation before any task, and the first task."""
        student = self.new_student()
        self.evaluate_before(student)
        stage = Stage("", Strategy(), self.scenario[0])
        self.learn_stage(stage, student, Priors())
        self.forget_checkpoint(stage)

    def new_student(self) -> Student:
        """The student before any task; always the same."""
        seed_everything(self.config.seed, 0)
        return Student(self.config, self.scenario[0], self.device, self.processes)

    def prior_to_tasks(self, student: Student) -> Priors:
        """The model that has learned before the run, if there is one: all but its classifier."""
        if not self.config.trained_start:
            return Priors()
        trained = {name: student.models[name] for name in ("trunk", "embedder")}
        return Priors(teacher=Teacher.snapshot(trained))

    def evaluate_before(self, student: Student) -> Measurements:
        """What the untrained (or pretrained) model can do."""
        name = "before/evaluation.json"
        found: Measurements | None = self.folder.read_json(name)
        if found is None:
            found = self.evaluate(student, 0, "the model before any task")
            self.folder.write_checked_json(name, found)
        return found

    def learn_stage(self, stage: Stage, student: Student, prior: Priors) -> Measurements:
        """Learn and evaluate a task, or take both from the folder."""
        task = stage.task
        found: Measurements | None = self.folder.read_json(stage.evaluation_file)
        # What a component saw in training is gone unless its memory was stored.
        has_seen = not stage.strategy.observes_training or self.folder.has(stage.memory_file)
        if found is not None and has_seen:
            student.grow(task.labels.stop)
            student.load(self.folder.read_tensors(stage.weights_file))
            return found
        if not stage.is_shared:
            return self.learn_and_measure(stage, student, prior)
        with self.folder.lock(stage.folder):
            return self.learn_and_measure(stage, student, prior)

    def learn_and_measure(self, stage: Stage, student: Student, prior: Priors) -> Measurements:
        """Learn and evaluate a task, or what is missing of that."""
        number = stage.task.number
        with self.records.open(stage.folder) as writer:
            self.train(stage, student, prior, self.records.losses_hook(writer))
        description = describe_model(self.config, self.scenario)
        self.folder.write_tensors(stage.weights_file, student.tensors(), description)
        found = self.evaluate(student, number, stage.who)
        self.folder.write_checked_json(stage.evaluation_file, found)
        self.learned.append(stage.folder)
        return found

    def train(
        self,
        stage: Stage,
        student: Student,
        prior: Priors,
        record: Callable[[Any], None] | None,
    ) -> None:
        """Make room for the task's classes and learn it, in the task's own random stream."""
        task = stage.task
        seed_everything(self.config.seed, task.number)
        student.grow(task.labels.stop)
        description = f"{self.config.name} · {stage.who} · task {task.number}/{len(self.scenario)}"
        checkpoint = TaskCheckpoint(
            self.folder.file(stage.checkpoint_file), self.config.checkpoint, self.stop
        )
        watch = TrainingWatch(checkpoint, description, self.progress, record)
        seen = self.scenario.seen(task.number)
        train_stage(self.config, stage, seen, student, prior, watch)

    def remember(self, stage: Stage, finished: FinishedTask, student: Student) -> None:
        """Let the strategy's components see the finished task, or take what they kept of it."""
        strategy = stage.strategy
        if self.folder.has(stage.memory_file):
            load_memory(strategy, self.folder.read_tensors(stage.memory_file))
            return
        seed_everything(self.config.seed, stage.task.number, 1)
        images = training_images(strategy, self.scenario.seen(stage.task.number))
        if strategy.components:
            assert images is not None  # a strategy with components trains on every task
            trained = trained_model(self.config, student, images)
            for component in strategy.components:
                component.measure(trained)
                component.end_task(finished)
        share_memory(strategy, self.processes)
        report = report_of_memory(strategy)
        if report:
            self.folder.write_json(stage.report_file, report)
        memory = pack_memory(strategy)
        if memory:
            self.folder.write_tensors(stage.memory_file, memory)

    def forget_checkpoint(self, stage: Stage) -> None:
        """Remove what training would have gone on from."""
        file = self.folder.file(stage.checkpoint_file)
        self.processes.on_first(lambda: remove_generations(file))

    def evaluate(self, student: Student, seen: int, whose: str) -> Measurements:
        """What the student can do on every task."""
        return measure(self.tester, list(self.scenario), student.models, seen, whose)


def record_finished_task(
    writer: RecordWriter,
    task_number: int,
    matrices: Mapping[str, TaskMatrix],
    memory: Mapping[str, Any] | None,
) -> None:
    """Write the summary after a task, and what the strategy's memory holds."""
    record_task_summary(writer, matrices, task_number)
    if memory is None:
        return
    numbers = {name: value for name, value in memory.items() if isinstance(value, int | float)}
    writer.scalars("memory", numbers, task_number)
    for model, (low, high) in memory.get("ranges", {}).items():
        writer.scalars(f"range_{model}", {"low": low, "high": high}, task_number)


def record_pictures(writer: RecordWriter, pictures: Mapping[str, Path], step: int) -> None:
    """Write pictures by name, such as ``own/recall_at_1_matrix``."""
    for name, file in pictures.items():
        writer.image(record_name(name), file, step)
