"""Many tiny tasks in a row: do memory, open files and time per task stay flat?

    python runners/soak.py --tasks 200

prints a line for every tenth of the tasks and ends with 1 if memory or open files grew.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pml_incremental import report
from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment import run, task_loop
from pml_incremental.experiment.stage import Stage
from pml_incremental.experiment.task_loop import TaskLoop

MEGABYTES_PER_HUNDRED_TASKS = 20


@dataclass
class Reading:
    """The process after a task."""

    task: int
    seconds: float
    megabytes: float
    files: int


def read_process(task: int, seconds: float) -> Reading:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Reading(task, seconds, megabytes, len(os.listdir("/proc/self/fd")))


def soak(tasks: int, folder: Path) -> tuple[list[Reading], ExperimentConfig]:
    """Run so many tasks of two classes and read the process after each."""
    config = make_config(tasks, folder)
    readings: list[Reading] = []
    since = time.perf_counter()
    learn = TaskLoop.learn_and_measure

    def learn_and_read(loop: TaskLoop, stage: Stage, *arguments: object) -> object:
        nonlocal since
        found = learn(loop, stage, *arguments)
        now = time.perf_counter()
        readings.append(read_process(stage.task.number, now - since))
        since = now
        return found

    TaskLoop.learn_and_measure = learn_and_read
    # A picture of so many tasks would show nothing.
    for name in ("plot_task_matrix", "plot_task_curves"):
        setattr(report, name, lambda *_, **__: None)
    task_loop.draw_retrievals = lambda *_: None
    try:
        result = run(config, progress=False)
    finally:
        TaskLoop.learn_and_measure = learn
    (matrices,) = result.strategies.values()
    values = matrices["own/recall_at_1"].values
    assert values.shape == (tasks + 1, tasks)
    assert np.isfinite(values).all()
    return readings, config


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
            "strategies": ["correlation"],
        }
    )


def growth(readings: list[Reading]) -> tuple[float, int]:
    """Megabytes and open files that came after the first quarter, which fills the caches."""
    first, last = readings[len(readings) // 4], readings[-1]
    return last.megabytes - first.megabytes, last.files - first.files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    tasks = parser.parse_args().tasks
    logging.disable()  # so small a model tells nothing apart, and a warning says so each time
    with tempfile.TemporaryDirectory() as folder:
        readings, _ = soak(tasks, Path(folder))
    print("task  seconds  MB resident  open files")
    for reading in readings[:: max(1, tasks // 10)]:
        print(
            f"{reading.task:4} {reading.seconds:8.2f} {reading.megabytes:12.1f} {reading.files:11}"
        )
    megabytes, files = growth(readings)
    print(f"after the first quarter: {megabytes:+.1f} MB, {files:+} open files")
    return int(files > 0 or megabytes > MEGABYTES_PER_HUNDRED_TASKS * tasks / 100)


if __name__ == "__main__":
    sys.exit(main())
