"""Strategies that hold the parameters that matter to the old classes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pml_incremental.regularizers import (
    EWC,
    MAS,
    OnlineEWC,
    ParameterRegularizer,
    SynapticIntelligence,
)
from pml_incremental.scenarios import Task
from pml_incremental.strategies.component import (
    Component,
    FinishedTask,
    TrainedModel,
    WeightedPenalty,
    check_weight,
)
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Teacher


@register_strategy("ewc")
def ewc(weight: float = 1e4) -> Strategy:
    """Hold parameters by their Fisher information (elastic weight consolidation).

    Kirkpatrick et al., PNAS 2017.

    Args:
        weight: lambda; ours. The Fisher information is that of a metric loss per batch, far below
            that of a classifier per image, for which the paper has weights around 1000.

    Example:
        >>> [component.name for component in ewc().components]
        ['ewc_loss']
    """
    return Strategy((ParameterPenalty("ewc_loss", EWC(), weight),))


@register_strategy("online-ewc")
def online_ewc(weight: float = 1e4, decay: float = 0.95) -> Strategy:
    """Hold parameters by a running Fisher information around the latest model.

    Schwarz et al., ICML 2018.

    Args:
        weight: lambda; ours, that of ``ewc``.
        decay: gamma, from 0 (only the last task counts) to 1 (all count alike).

    Example:
        >>> [component.name for component in online_ewc().components]
        ['online_ewc_loss']
    """
    return Strategy((ParameterPenalty("online_ewc_loss", OnlineEWC(decay), weight),))


@register_strategy("mas")
def mas(weight: float = 1.0) -> Strategy:
    """Hold parameters by how much the output's size depends on them (memory aware synapses).

    Args:
        weight: lambda (1 in Aljundi et al., ECCV 2018).

    Example:
        >>> [component.name for component in mas().components]
        ['mas_loss']
    """
    return Strategy((ParameterPenalty("mas_loss", MAS(), weight),))


@register_strategy("si")
def si(weight: float = 1.0, damping: float = 0.1) -> Strategy:
    """Hold parameters by what their moves did for the loss (synaptic intelligence).

    Watches every step of the first task too, which is therefore learned apart from the other
    strategies' (from the same start and with the same random draws).

    Args:
        weight: c (1 for split MNIST and 0.1 for permuted MNIST in Zenke et al., ICML 2017).
        damping: xi of the importances.

    Example:
        >>> si().shares_first_task
        False
    """
    return Strategy((ParameterPenalty("si_loss", SynapticIntelligence(damping), weight),))


class ParameterPenalty(Component):
    """Add a regulariser's penalty to the loss, and measure importances when a task ends.

    One pass over the task's training images measures them, except for synaptic intelligence, which
    gathers them from every training step, those of the first task included.

    Args:
        name: of the penalty in the trainer's losses, ending in ``_loss``.
        regularizer: measures importances and computes the penalty.
        weight: the penalty's weight in the total loss, at least 0.

    Raises:
        ValueError: if the weight is negative.

    Example:
        >>> from pml_incremental.regularizers import MAS
        >>> ParameterPenalty("mas_loss", MAS(), weight=1.0).observes_training
        False
    """

    holds_weights = True
    needs_memory = True

    def __init__(self, name: str, regularizer: ParameterRegularizer, weight: float) -> None:
        check_weight(name, weight)
        self.name = name
        self.regularizer = regularizer
        self.weight = weight
        self.observes_training = regularizer.importance_from == "steps"

    def penalties(self, task: Task) -> Mapping[str, WeightedPenalty]:  # noqa: ARG002
        """The one penalty."""
        return {self.name: WeightedPenalty(self.regularizer.penalty, self.weight)}

    def before_step(self, modules: Mapping[str, nn.Module]) -> None:
        """Let synaptic intelligence see the gradients."""
        if isinstance(self.regularizer, SynapticIntelligence):
            self.regularizer.before_step(modules, self.weight)

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:  # noqa: ARG002
        """Let synaptic intelligence see where the parameters went."""
        if isinstance(self.regularizer, SynapticIntelligence):
            self.regularizer.after_step(modules)

    def after_task(self, trained: TrainedModel, finished: FinishedTask) -> None:  # noqa: ARG002
        """Importances and anchors of the task that has just been learned."""
        measured_on = (
            trained.embed if self.regularizer.importance_from == "output" else trained.loss
        )
        self.regularizer.consolidate(trained.modules, trained.batches(), measured_on)

    def state_dict(self) -> dict[str, Tensor]:
        """The regulariser's importances and anchors."""
        return self.regularizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.regularizer.load_state_dict(state)
