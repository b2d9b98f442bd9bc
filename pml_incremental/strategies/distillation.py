"""Distillation from the previous task's model, on the batch and on probes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import nn

from pml_incremental.scenarios import Task
from pml_incremental.strategies._checks import check_weight
from pml_incremental.strategies.component import Component, WeightedLoss
from pml_incremental.strategies.strategy import Strategy
from pml_incremental.trainers import Compared, Probes, Teacher

#: How probes are made; or a mapping of that (``images``), the ``weight`` of the loss on them
#: (default: that of the batch), and the other arguments of :class:`Probes`. None: no probes.
ProbeOptions: TypeAlias = str | Sequence[Any] | Mapping[str, Any] | None


class Distillation(Component):
    """Distil from the teacher with one loss.

    Args:
        name: the key in ``loss_funcs``, ending in ``_loss``.
        loss: compares the student's with the teacher's embeddings.
        weight: its weight in the total loss, at least 0.
        compares: ``"embeddings"``, ``"features"`` or ``"logits"``; the last needs a classifier.
        probes: images to compare them on; default: those of the batch. In each task other random
            numbers are drawn for them, by the run's seed.

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
        compares: Compared = "embeddings",
        probes: Probes | None = None,
    ) -> None:
        check_weight(name, weight)
        self.name = name
        self.weighted = WeightedLoss(loss, weight, compares, probes)
        self.needs_classifier = compares == "logits"
        self.caches_teacher = probes is not None and probes.pool is not None

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:  # noqa: ARG002
        """Let the task have probes of its own."""
        probes = self.weighted.probes
        if probes is not None:
            self.weighted = replace(
                self.weighted, probes=replace(probes, seed=torch.initial_seed())
            )
        return teacher

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The one loss."""
        return {self.name: self.weighted}


def distil(
    name: str,
    loss: nn.Module,
    weight: float,
    probes: ProbeOptions = None,
    loss_on_probes: nn.Module | None = None,
) -> Strategy:
    """Distil with one loss on the batch and, if there are any, on probes."""
    on_batch = Strategy((Distillation(name, loss, weight),))
    if probes is None:
        return on_batch
    made, probe_weight = probes_of(probes, weight)
    other = copy.deepcopy(loss) if loss_on_probes is None else loss_on_probes
    on_probes = Distillation(f"probe_{name}", other, probe_weight, probes=made)
    return on_batch + Strategy((on_probes,))


def probes_of(
    options: str | Sequence[Any] | Mapping[str, Any], weight: float = 0.0
) -> tuple[Probes, float]:
    """Probes and the weight of the loss on them, of :data:`ProbeOptions`."""
    known: dict[str, Any] = dict(options) if isinstance(options, Mapping) else {"images": options}
    weight = known.pop("weight", weight)
    return Probes(**known), weight
