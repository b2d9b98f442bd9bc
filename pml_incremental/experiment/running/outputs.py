"""What a run leaves behind: records, numbers and pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import nn
from torch.utils.data import ConcatDataset

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.hooks import RecordLosses
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import JOINT, OWN
from pml_incremental.records import RecordWriter, SeveralWriters, record_name, record_task_summary
from pml_incremental.report import (
    plot_retrieval_grid,
    plot_task_curves,
    plot_task_matrix,
    retrieval_rows,
)
from pml_incremental.report.results import Result
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester

_ROWS = 8

_PICTURED = (OWN, JOINT)


def write_outputs(result: Result, folder: RunFolder) -> None:
    """Write ``metrics.json``, a CSV per matrix, heat maps and curves."""
    folder.write_json("metrics.json", result.to_dict())
    for strategy, matrices in result.strategies.items():
        for metric, matrix in matrices.items():
            matrix.to_csv(folder.file(f"{strategy}/{_file_name(metric)}.csv"))
        draw_matrices(strategy, matrices, folder)
    for metric in _PICTURED:
        _draw_over_time(result, folder, metric)


def draw_matrices(
    strategy: str, matrices: Mapping[str, TaskMatrix], folder: RunFolder
) -> dict[str, Path]:
    """Heat maps of a strategy's Recall@1 matrices."""
    pictures = {}
    for metric in (metric for metric in _PICTURED if metric in matrices):
        picture = folder.file(f"pictures/{_file_name(metric)}_matrix_{strategy}.png")
        plot_task_matrix(matrices[metric], picture, title=f"{strategy}: {metric_title(metric)}")
        pictures[f"{metric}_matrix"] = picture
    return pictures


def _draw_over_time(result: Result, folder: RunFolder, metric: str) -> None:
    matrices = {name: found[metric] for name, found in result.strategies.items() if metric in found}
    if matrices:
        picture = folder.file(f"pictures/{_file_name(metric)}_over_time.png")
        plot_task_curves(matrices, picture, metric_name=metric_title(metric))


def metric_title(metric: str) -> str:
    """A metric's name as people write it."""
    gallery, name = metric.split("/")
    return f"{name.replace('recall_at_', 'Recall@')}, {gallery} gallery"


def _file_name(metric: str) -> str:
    return metric.replace("/", "_")


def draw_retrievals(
    path: Path,
    title: str,
    scenario: ClassIncrementalScenario,
    tester: IncrementalTester,
    models: dict[str, nn.Module],
) -> None:
    """Queries of every task and the five images nearest to each among those of all tasks."""
    embeddings = [
        tester.get_all_embeddings(task.test, models["trunk"], models["embedder"])[0]
        for task in scenario
    ]
    if not tester.processes.is_rank_zero:
        return
    images: ConcatDataset[Any] = ConcatDataset(
        [task.test.with_transform(as_picture) for task in scenario]
    )
    rows = retrieval_rows(
        images, torch.cat(embeddings), choose_queries(list(scenario)), scenario.class_names
    )
    plot_retrieval_grid(path, rows, title)


def choose_queries(tasks: Sequence[Task]) -> list[int]:
    """Up to eight positions among the tests of all tasks, evenly over tasks and classes."""
    shown = np.linspace(0, len(tasks) - 1, min(len(tasks), _ROWS)).astype(int)
    starts = np.cumsum([0, *(len(task.test) for task in tasks)])
    positions: list[int] = []
    for place in shown:
        size = len(tasks[place].test)
        steps = np.linspace(0, size, min(_ROWS // len(shown), size), endpoint=False)
        positions += [int(starts[place] + int(step)) for step in steps]
    return positions


def as_picture(image: Any) -> Image:
    """A PIL image from whatever a dataset gives."""
    from torchvision.transforms.functional import to_pil_image

    picture: Image = image if isinstance(image, Image) else to_pil_image(image)
    return picture


@dataclass(frozen=True)
class RunRecords:
    """Opens the writers of a config, one set for each *scope*: a stage, or a strategy's summary."""

    config: ExperimentConfig  # says which writers
    folder: Path  # of the records, within that of the run
    writes: bool = True  # whether this process is the one that records

    @property
    def wanted(self) -> bool:
        """Whether there are writers at all."""
        return self.writes and bool(self.config.records.writers)

    @contextmanager
    def open(self, scope: str) -> Iterator[RecordWriter]:
        """The writers of a scope, closed in the end.

        What an interrupted run has left of the scope is removed: its steps come again.
        """
        if self.wanted:
            shutil.rmtree(self.folder / scope, ignore_errors=True)
        writer = SeveralWriters(
            [
                spec.build("record_writer", folder=self.folder, scope=scope, run=self.config.name)
                for spec in (self.config.records.writers if self.wanted else ())
            ]
        )
        try:
            writer.config(self.config.to_yaml_dict())
            yield writer
        finally:
            writer.close()

    def losses_hook(self, writer: RecordWriter) -> Callable[[Any], None] | None:
        """The trainer's hook; None if there is nowhere to write to."""
        return RecordLosses(writer, self.config.records.every) if self.wanted else None


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
