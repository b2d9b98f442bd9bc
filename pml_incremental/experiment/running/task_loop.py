"""The loop over tasks: learn, evaluate, make the student the next teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.config.objects import spec_label
from pml_incremental.datasets.image_files import Look, known_looks
from pml_incremental.distributed import Processes, own_device
from pml_incremental.distributed.processes import check_even
from pml_incremental.experiment.assembly import (
    batch_size,
    build_strategy,
    checked_scenario,
    choose_device,
)
from pml_incremental.experiment.environment import describe_environment, seed_everything
from pml_incremental.experiment.running.learn import TrainingMonitor, learn_task, trained_model
from pml_incremental.experiment.running.measurements import (
    Measurements,
    measure,
    packed,
    task_matrices,
)
from pml_incremental.experiment.running.outputs import (
    RunRecords,
    draw_matrices,
    draw_retrievals,
    record_finished_task,
    record_pictures,
)
from pml_incremental.experiment.running.run_folder import RunFolder, check_same_images
from pml_incremental.experiment.running.stage import (
    Priors,
    Stage,
    load_memory,
    pack_memory,
    report_of_memory,
    share_memory,
    share_training_states,
    training_images,
)
from pml_incremental.experiment.running.task_checkpoint import StopRequest, TaskCheckpoint
from pml_incremental.experiment.student import Student, describe_model
from pml_incremental.metrics import TaskMatrix
from pml_incremental.records import RecordWriter
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
        processes.on_rank_zero(lambda: check_even(batch_size(config), processes.size))
        device = own_device(choose_device(config.device), processes)
        progress = progress and processes.is_rank_zero
        scenario = built_together(config, progress, processes)
        path = Path(config.output) / config.name
        folder = RunFolder(path, config.to_yaml_dict(), processes)
        processes.on_rank_zero(lambda: check_same_images(folder, scenario))
        folder.write_json("environment.json", describe_environment(device, processes.size))
        tester = config.tester.build(
            "tester", data_device=device, dataloader_num_workers=0, processes=processes
        )
        records = RunRecords(config, folder.path / "records", processes.is_rank_zero)
        return cls(config, scenario, folder, tester, device, records, progress, stop, processes)

    def learn_strategy(self, spec: ObjectSpec) -> dict[str, TaskMatrix]:
        """All tasks with one strategy."""
        with self.records.open(f"{spec_label(spec)}/summary") as summary:
            return self.learn_tasks(spec, summary)

    def learn_tasks(self, spec: ObjectSpec, summary: RecordWriter) -> dict[str, TaskMatrix]:
        """All tasks with one strategy, each of which adds to the summary."""
        label, strategy = spec_label(spec), build_strategy(self.config, spec)
        for component in strategy.components:
            component.processes = self.processes
        student = self.new_student()
        prior = self.prior_to_tasks(student)
        rows = [packed(self.evaluate_before(student))]
        matrices: dict[str, TaskMatrix] = {}
        for task in self.scenario:
            stage = Stage(label, strategy, task)
            rows.append(packed(self.learn(stage, student, prior)))
            prior = self.remember(stage, student, prior, rows)
            matrices = self.record(stage, rows, summary)
        if self.draws:
            self.draw(label, matrices, student, summary)
        return matrices

    def learn_start(self) -> None:
        """What strategies share: the evaluation before any task, and the first task."""
        student = self.new_student()
        self.evaluate_before(student)
        stage = Stage("", Strategy(), self.scenario[0])
        self.learn(stage, student, Priors())
        self.forget_checkpoint(stage)

    def learn(self, stage: Stage, student: Student, prior: Priors) -> Measurements:
        """Prepare the teacher, train and evaluate, or take what the folder has of all that."""
        # Other strategies' processes may be about to learn what they share.
        is_shared = stage.is_shared and not self.is_learned(stage)
        with self.folder.lock(stage.folder) if is_shared else nullcontext():
            if self.is_learned(stage):
                return self.take_learned(stage, student)
            teacher = self.prepare_teacher(stage, student, prior)
            self.train(stage, student, teacher, prior)
            return self.evaluate(stage, student)

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
            found = self.measure(student, 0, "the model before any task")
            self.folder.write_checked_json(name, found)
        return found

    def is_learned(self, stage: Stage) -> bool:
        """Whether the folder holds all that training would give."""
        # What a component saw in training is gone unless its memory was stored.
        has_seen = not stage.strategy.observes_training or self.folder.has(stage.memory_file)
        return has_seen and self.folder.has(stage.evaluation_file)

    def take_learned(self, stage: Stage, student: Student) -> Measurements:
        """Bring the student to where the folder has it, and say what it can do there."""
        student.grow(stage.task.labels.stop)
        student.load(self.folder.read_tensors(stage.weights_file))
        known: Measurements = self.folder.read_json(stage.evaluation_file)
        return known

    def prepare_teacher(self, stage: Stage, student: Student, prior: Priors) -> Teacher | None:
        """The model to learn beside, once student and components are ready for the task."""
        seed, task, strategy = self.config.seed, stage.task, stage.strategy
        seed_everything(seed, task.number)
        student.grow(task.labels.stop)
        if prior.teacher is None or not strategy.has_teacher:
            return None
        # The model before the task stays as it was.
        moves = strategy.moves_teacher
        teacher = Teacher.snapshot(prior.teacher.models()) if moves else prior.teacher
        # In a stream of its own: what a component draws must not change the training batches.
        seed_everything(seed, task.number, 2)
        for component in strategy.components:
            teacher = component.before_task(task, prior.previous, teacher)
        seed_everything(seed, task.number)
        share_training_states(strategy.components, self.processes)
        return teacher

    def train(self, stage: Stage, student: Student, teacher: Teacher | None, prior: Priors) -> None:
        """Learn a task from the images that the strategy takes, if it takes any; keep the model."""
        images = training_images(stage.strategy, self.scenario.seen(stage.task.number))
        with self.records.open(stage.folder) as writer:
            if images is not None:
                acts = prior.teacher is not None or stage.strategy.observes_training
                components = stage.strategy.components if acts else ()
                monitor = self.monitor(stage, self.records.losses_hook(writer))
                learn_task(self.config, stage.task, images, student, teacher, components, monitor)
                if prior.teacher is not None and components:
                    trained = trained_model(self.config, student, images)
                    for component in sorted(components, key=attrgetter("rotates_embeddings")):
                        component.after_training(trained, prior.teacher)
        description = describe_model(self.config, self.scenario)
        self.folder.write_tensors(stage.weights_file, student.tensors(), description)

    def monitor(self, stage: Stage, record: Callable[[Any], None] | None) -> TrainingMonitor:
        """How the training of a stage is saved, shown and recorded."""
        task = f"task {stage.task.number}/{len(self.scenario)}"
        checkpoint = TaskCheckpoint(
            self.folder.file(stage.checkpoint_file), self.config.checkpoint, self.stop
        )
        description = f"{self.config.name} · {stage.who} · {task}"
        return TrainingMonitor(checkpoint, description, self.progress, record)

    def evaluate(self, stage: Stage, student: Student) -> Measurements:
        """What the model can do after the task; the folder has it from then on."""
        found = self.measure(student, stage.task.number, stage.who)
        self.folder.write_checked_json(stage.evaluation_file, found)
        self.learned.append(stage.folder)
        return found

    def remember(
        self, stage: Stage, student: Student, prior: Priors, rows: Sequence[Measurements]
    ) -> Priors:
        """Let the components keep what they need of the task; the student is the next teacher."""
        frozen = Teacher.snapshot(student.models)
        start = self.config.trained_start
        finished = FinishedTask(stage.task, prior.teacher, frozen, self.device, rows, start)
        self.fill_memory(stage, finished, student)
        self.forget_checkpoint(stage)
        return Priors(teacher=frozen, previous=prior.teacher)

    def fill_memory(self, stage: Stage, finished: FinishedTask, student: Student) -> None:
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
                component.after_task(trained, finished)
        share_memory(strategy, self.processes)
        report = report_of_memory(strategy)
        if report:
            self.folder.write_json(stage.report_file, report)
        memory = pack_memory(strategy)
        if memory:
            self.folder.write_tensors(stage.memory_file, memory)

    def record(
        self, stage: Stage, rows: list[Measurements], summary: RecordWriter
    ) -> dict[str, TaskMatrix]:
        """The matrices so far, which the summary gets too."""
        matrices = task_matrices(rows, list(self.scenario))
        memory = self.folder.read_json(stage.report_file)
        record_finished_task(summary, stage.task.number, matrices, memory)
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

    def forget_checkpoint(self, stage: Stage) -> None:
        """Remove what training would have resumed from."""
        file = self.folder.file(stage.checkpoint_file)
        self.processes.on_rank_zero(lambda: remove_generations(file))

    def measure(self, student: Student, seen: int, whose: str) -> Measurements:
        """What the student can do on every task."""
        return measure(self.tester, list(self.scenario), student.models, seen, whose)


def built_together(
    config: ExperimentConfig, progress: bool, processes: Processes
) -> ClassIncrementalScenario:
    """The tasks, in all processes; the first one alone looks at the images, and says what fails."""
    built: list[ClassIncrementalScenario] = []

    def build() -> dict[Path, Look]:
        built.append(checked_scenario(config, progress))
        return known_looks

    looks = processes.on_rank_zero(build)
    if not built:
        known_looks.update(looks)
        built.append(checked_scenario(config))
    return built[0]
