"""One way of holding on to the old classes; a strategy is a sum of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pml_incremental.scenarios import Task
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class WeightedLoss:
    """A distillation loss and its weight in the total."""

    loss: nn.Module
    weight: float


class Component:
    """What a strategy adds to plain training. Every method has a default that adds nothing.

    A component lives through all tasks of one strategy.
    """

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The distillation losses of a task that has a teacher, by name.

        Args:
            task: the task about to be learned.

        Returns:
            Losses called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.
        """
        return {}
