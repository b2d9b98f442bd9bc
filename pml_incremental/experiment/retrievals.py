"""The picture of what a model finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import nn
from torch.utils.data import ConcatDataset

from pml_incremental.report import plot_retrieval_grid, retrieval_rows
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester

_ROWS = 8


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
    if not tester.processes.is_first:
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
