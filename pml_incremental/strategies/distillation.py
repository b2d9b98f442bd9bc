"""Distillation from the previous task's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

from pml_incremental.scenarios import Task
from pml_incremental.strategies._checks import check_weight
from pml_incremental.strategies.component import Component, WeightedLoss


class Distillation(Component):
    """Distil from the teacher with one loss.

    Args:
        name: the key in ``loss_funcs``, ending in ``_loss``.
        loss: compares the student's with the teacher's embeddings.
        weight: its weight in the total loss, at least 0.
        compares: ``"embeddings"`` or ``"logits"``; the latter needs a classifier.

    Raises:
        ValueError: if the weight is negative.

    Example:
        >>> from pml_incremental.losses import CorrelationDistillationLoss
        >>> distillation = Distillation("correlation_loss", CorrelationDistillationLoss(), 10.0)
    """

    def __init__(
        self,
        name: str,
        loss: nn.Module,
        weight: float,
        compares: Literal["embeddings", "logits"] = "embeddings",
    ) -> None:
        check_weight(name, weight)
        self.name = name
        self.weighted = WeightedLoss(loss, weight, compares)
        self.needs_classifier = compares == "logits"

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The one loss."""
        return {self.name: self.weighted}
