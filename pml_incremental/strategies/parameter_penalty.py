"""Holding parameters that matter where earlier tasks left them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pml_incremental.regularizers import ParameterRegularizer, SynapticIntelligence
from pml_incremental.scenarios import Task
from pml_incremental.strategies._checks import check_weight
from pml_incremental.strategies.component import Component, FinishedTask, WeightedPenalty
from pml_incremental.strategies.trained_model import TrainedModel
from pml_incremental.trainers import Teacher


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

    acts_from_memory = True

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
