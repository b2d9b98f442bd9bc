"""A teacher that slowly follows its student."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pml_incremental.models import move_towards
from pml_incremental.strategies.component import Component
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Teacher


class MovingTeacher(Component):
    r"""Let the teacher follow the student during a task.

    .. math:: \theta_T \leftarrow m \, \theta_T + (1 - m) \, \theta_S \text{ after every step}

    Each task starts with the previous model as teacher.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """

    moves_teacher = True

    def __init__(self, momentum: float) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, got {momentum}")
        self.momentum = momentum

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """Move the teacher."""
        if teacher is not None:
            for name, model in teacher.models().items():
                move_towards(model, modules[name], 1 - self.momentum)


@register_strategy("ema-teacher")
def ema_teacher(momentum: float = 0.999) -> Strategy:
    """Let the teacher follow the student; for sums such as ``correlation+ema-teacher``.

    Args:
        momentum: how much of the teacher stays at each step (0.999 in Tarvainen & Valpola,
            NeurIPS 2017).

    Example:
        >>> [component.momentum for component in ema_teacher().components]
        [0.999]
    """
    return Strategy((MovingTeacher(momentum),))
