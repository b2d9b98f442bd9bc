"""Everything that adds up to the loss of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.student import Student
from pml_incremental.scenarios import Task
from pml_incremental.strategies import Component
from pml_incremental.trainers import Compared, Penalty, Probes


@dataclass
class LossTerms:
    """The terms of the total loss, by name, as an incremental trainer takes them."""

    loss_funcs: dict[str, nn.Module]
    weights: dict[str, float]
    compares: dict[str, Compared] = field(default_factory=dict)
    probes: dict[str, Probes] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)

    def claim(self, name: str, weight: float) -> None:
        """Note a term's weight; ValueError if there is a term of that name."""
        if name in self.weights:
            raise ValueError(
                f"two parts of the strategy, or the strategy and loss_funcs, bring {name}: leave "
                "one out"
            )
        self.weights[name] = weight


def loss_terms(
    config: ExperimentConfig, task: Task, student: Student, components: Sequence[Component]
) -> LossTerms:
    """The config's losses and those of a strategy's components.

    Args:
        config: gives the weights of the student's own losses; 1 where it has none.
        task: about to be learned.
        student: whose losses are trained.
        components: what the strategy adds.

    Returns:
        All terms.

    Raises:
        ValueError: if two terms have one name.
    """
    terms = own_terms(config, student)
    for component in components:
        for name, weighted in component.losses(task).items():
            terms.claim(name, weighted.weight)
            terms.loss_funcs[name] = weighted.loss.to(student.device)
            terms.compares[name] = weighted.compares
            if weighted.probes is not None:
                terms.probes[name] = weighted.probes
        for name, held in component.penalties(task).items():
            terms.claim(name, held.weight)
            terms.penalties[name] = held.penalty
    return terms


def own_terms(config: ExperimentConfig, student: Student) -> LossTerms:
    """The config's losses alone."""
    weights = {name: config.loss_weights.get(name, 1.0) for name in student.losses}
    return LossTerms(dict(student.losses), weights)
