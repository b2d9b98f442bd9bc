"""What watches every training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from pml_incremental.trainers.teacher import Teacher


class StepObserver(Protocol):
    """Called by an incremental trainer around every optimizer step."""

    def before_step(self, modules: Mapping[str, nn.Module]) -> None:
        """Called after the backward pass, before gradients are clipped.

        Args:
            modules: the models and loss functions in training, by name.
        """

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """Called after the optimizers have stepped.

        Args:
            modules: as for :meth:`before_step`.
            teacher: the model beside which they learn.
        """
