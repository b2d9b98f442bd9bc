"""Keeping a few old images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from pml_incremental.functional import herding_order
from pml_incremental.scenarios import Task, TaskSubset, select_images
from pml_incremental.strategies.component import Component, FinishedTask, TrainedModel
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.wording import counted

_BATCH_SIZE = 128


class Replay(Component):
    """Keep some training images of each class, which join those of every later task.

    What is kept are places in the dataset, not pixels: the images must stay there.
    """

    needs_memory = True

    def __init__(
        self,
        per_class: int,
        budget: int | None = None,
        choice: Literal["herding", "random"] = "herding",
    ) -> None:
        if per_class < 1 or (budget is not None and budget < 1):
            raise ValueError(
                f"per_class and budget must be at least 1, got {per_class} and {budget}"
            )
        if choice not in ("herding", "random"):
            raise ValueError(f'choice must be "herding" or "random", got {choice!r}')
        self.per_class = per_class
        self.budget = budget
        self.choice = choice
        self._kept: dict[int, Tensor] = {}  # label -> places in the dataset, best first

    def exemplars(self, earlier: Sequence[Task]) -> Sequence[TaskSubset]:
        """The images kept of earlier tasks."""
        places = self.state_dict()["indices"].numpy()
        found = [np.flatnonzero(np.isin(task.train.indices, places)) for task in earlier]
        return [
            select_images(task.train, positions)
            for task, positions in zip(earlier, found, strict=True)
            if len(positions)
        ]

    def after_task(self, trained: TrainedModel, finished: FinishedTask) -> None:  # noqa: ARG002
        """Choose images of the new classes, and drop some of the old ones if need be."""
        images = finished.task.train
        count = self._count(len(self._kept) + len(finished.task.labels))
        for label in finished.task.labels:
            positions = np.flatnonzero(images.labels == label)
            order = self._order(finished, positions, count)
            self._kept[label] = torch.from_numpy(images.indices[positions[order]])
        self._kept = {label: places[:count] for label, places in self._kept.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Places in the dataset and labels of the images kept."""
        places = [torch.zeros(0, dtype=torch.int64), *self._kept.values()]
        labels = [torch.full_like(kept, label) for label, kept in self._kept.items()]
        return {"indices": torch.cat(places), "labels": torch.cat([places[0], *labels])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        labels = state["labels"]
        self._kept = {
            int(label): state["indices"][labels == label] for label in labels.unique().tolist()
        }

    def _count(self, classes: int) -> int:
        count = (
            self.per_class if self.budget is None else min(self.per_class, self.budget // classes)
        )
        if count < 1:
            raise ValueError(
                f"replay has a budget of {self.budget} for {counted(classes, 'class')}: give it at "
                "least one image for each class"
            )
        return count

    def _order(
        self, finished: FinishedTask, positions: NDArray[np.int64], count: int
    ) -> NDArray[np.int64]:
        if self.choice == "random":
            return torch.randperm(len(positions))[:count].numpy()
        # As the model is tested: without the random changes of training.
        plain = finished.task.train.with_transform(finished.task.test.transform)
        batches = DataLoader(select_images(plain, positions), batch_size=_BATCH_SIZE)
        embeddings = [finished.student.embed(images.to(finished.device)) for images, _ in batches]
        return herding_order(torch.cat(embeddings), count).cpu().numpy()


@register_strategy("replay")
def replay(
    per_class: int = 5,
    budget: int | None = None,
    choice: Literal["herding", "random"] = "herding",
) -> Strategy:
    """Keep a few old images and train on them too; unlike the others it needs old data.

    Herding is that of Rebuffi et al. (iCaRL), CVPR 2017.

    Args:
        per_class: images of each class to keep at most; ours.
        budget: images to keep in all (2000 in the paper); default: no limit.
        choice: ``"herding"`` or ``"random"``.

    Example:
        >>> [component.per_class for component in replay(per_class=2).components]
        [2]
    """
    return Strategy((Replay(per_class, budget, choice),))
