"""Many tiny tasks in a row: do memory, open files and time per task stay flat?

    python runners/soak.py --tasks 200

prints a line for every tenth of the tasks and ends with 1 if one of them grew. Two things have to
grow: the task matrices, which have a row and a column per task, and the time of evaluation, which
searches the galleries of all tasks seen so far. The first is allowed for, the second shown apart.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment import run
from pml_incremental.experiment.running import outputs, task_loop
from pml_incremental.experiment.running.measurements import Measurements
from pml_incremental.experiment.running.stage import Stage
from pml_incremental.experiment.running.task_loop import TaskLoop
from pml_incremental.metrics import TaskMatrix
from pml_incremental.trainers import Teacher

BYTES_PER_MATRIX_ENTRY = 8
SPARE_MEGABYTES = 10
LONGER = 1.2


@dataclass
class Reading:
    """The process after a task; times are CPU time."""

    task: int
    learning: float
    evaluating: float
    megabytes: float
    files: int


def read_process(task: int, learning: float, evaluating: float) -> Reading:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Reading(task, learning, evaluating, megabytes, len(os.listdir("/proc/self/fd")))


class Watch:
    """The task loop, with a reading after each task."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.metrics = 0
        self.evaluating = 0.0
        self.since = time.process_time()

    @contextmanager
    def on(self) -> Iterator[None]:
        prepare, measure = TaskLoop.prepare_teacher, TaskLoop.measure
        record = TaskLoop.record

        def prepare_from_now(loop: TaskLoop, *arguments: Any) -> Teacher | None:
            self.since = time.process_time()
            return prepare(loop, *arguments)

        def measure_timed(loop: TaskLoop, *arguments: Any) -> Measurements:
            before = time.process_time()
            found = measure(loop, *arguments)
            self.evaluating = time.process_time() - before
            self.metrics = len(found)
            return found

        def record_and_read(loop: TaskLoop, stage: Stage, *rest: Any) -> dict[str, TaskMatrix]:
            spent = time.process_time() - self.since - self.evaluating
            self.readings.append(read_process(stage.task.number, spent, self.evaluating))
            return record(loop, stage, *rest)

        with (
            patch.object(TaskLoop, "prepare_teacher", prepare_from_now),
            patch.object(TaskLoop, "measure", measure_timed),
            patch.object(TaskLoop, "record", record_and_read),
        ):
            yield


def soak(tasks: int, folder: Path) -> Watch:
    """Run so many tasks of two classes and read the process after each."""
    watch = Watch()
    # A picture of so many tasks would show nothing.
    with (
        watch.on(),
        patch.object(outputs, "plot_task_matrix"),
        patch.object(outputs, "plot_task_curves"),
        patch.object(task_loop, "draw_retrievals"),
    ):
        result = run(make_config(tasks, folder), progress=False)
    (matrices,) = result.strategies.values()
    values = matrices["own/recall_at_1"].values
    assert values.shape == (tasks + 1, tasks)
    assert np.isfinite(values).all()
    return watch


def make_config(tasks: int, folder: Path) -> ExperimentConfig:
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(2 * tasks), 4)
    base = draw.integers(60, 190, (2 * tasks, 8, 8))
    pixels = (base[labels] + draw.integers(-60, 60, (len(labels), 8, 8))).astype(np.uint8)
    np.savez(folder / "x.npz", x=pixels, y=labels, vendor=np.tile(["a", "a", "b", "b"], 2 * tasks))
    return ExperimentConfig.model_validate(
        {
            "name": "soak",
            "output": str(folder),
            "device": "cpu",
            "threads": 1,
            "dataset": {"NpzImages": {"path": str(folder / "x.npz"), "test_values": ["b"]}},
            "scenario": {"ClassIncrementalScenario": {"classes_per_task": [2] * tasks}},
            "models": {
                "trunk": {"SmallConvNet": {"width": 4}},
                "embedder": {"MLP": {"layer_sizes": [8]}},
            },
            "loss_funcs": {"metric_loss": "TripletMarginLoss"},
            "optimizers": {
                "trunk_optimizer": {"Adam": {"lr": 1e-3}},
                "embedder_optimizer": {"Adam": {"lr": 1e-3}},
            },
            "trainer": {"IncrementalMetricLoss": {"batch_size": 4, "iterations_per_epoch": 2}},
            "num_epochs": 1,
            "strategies": ["function-matching"],
        }
    )


def faults(watch: Watch) -> list[str]:
    """What grew after the first quarter, which fills the caches."""
    readings = watch.readings
    quarter = len(readings) // 4
    first, last = readings[quarter], readings[-1]
    entries = watch.metrics * len(readings) * (last.task - first.task)
    matrices = entries * BYTES_PER_MATRIX_ENTRY / 2**20
    grown = last.megabytes - first.megabytes
    early, late = (
        median(r.learning for r in part)
        for part in (readings[quarter : 2 * quarter], readings[-quarter:])
    )
    print(f"after the first quarter: {grown:+.1f} MB, of which the matrices {matrices:+.1f}")
    print(f"learning a task, second and last quarter: {early:.2f} s, {late:.2f} s of CPU time")
    found = {
        "memory": grown > matrices + SPARE_MEGABYTES,
        "open files": last.files > first.files,
        "time per task": late > LONGER * early,
    }
    return [what for what, has_grown in found.items() if has_grown]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200)
    tasks = parser.parse_args().tasks
    logging.disable()  # so small a model tells nothing apart, and a warning says so each time
    with tempfile.TemporaryDirectory() as folder:
        watch = soak(tasks, Path(folder))
    print("task  learning s  evaluating s  MB resident  open files")
    for reading in watch.readings[:: max(1, tasks // 10)]:
        print(
            f"{reading.task:4} {reading.learning:11.2f} {reading.evaluating:13.2f} "
            f"{reading.megabytes:12.1f} {reading.files:11}"
        )
    grown = faults(watch)
    print(f"grown: {', '.join(grown) or 'nothing'}")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
