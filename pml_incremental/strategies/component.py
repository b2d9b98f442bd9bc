"""One way of holding on to the old classes; a strategy is a sum of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pml_incremental.scenarios import Task
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class WeightedLoss:
    """A distillation loss, its weight in the total, and what it compares."""

    loss: nn.Module
    weight: float
    compares: Literal["embeddings", "logits"] = "embeddings"


@dataclass(frozen=True)
class FinishedTask:
    """What is at hand when a task has been learned, and partly gone soon after.

    Attributes:
        task: with its images.
        teacher: the model before the task; None for the first.
        student: a frozen copy of the model after it.
        device: where both live.
        measurements: own- and joint-gallery metrics before any task and after each task so far:
            ``measurements[i]["own/recall_at_1"]["task_2"]``; None where not measured.
    """

    task: Task
    teacher: Teacher | None
    student: Teacher
    device: torch.device
    measurements: Sequence[Mapping[str, Mapping[str, float | None]]]


class Component:
    """What a strategy adds to plain training. Every method has a default that adds nothing.

    A component lives through all tasks of one strategy. What it remembers between tasks must be
    in its ``state_dict``, so that a resumed run equals an uninterrupted one.
    """

    #: Whether it compares logits, so that the config must have a classifier.
    needs_classifier: bool = False

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The distillation losses of a task that has a teacher, by name.

        Args:
            task: the task about to be learned.

        Returns:
            Losses called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``, or with the
            logits of both if that is what they compare.
        """
        return {}

    def end_task(self, finished: FinishedTask) -> None:
        """Remember what later tasks will need.

        Args:
            finished: the task just learned.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What must survive from one task to the next, as plain tensors on any device."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave.

        Args:
            state: tensors on the CPU.
        """
