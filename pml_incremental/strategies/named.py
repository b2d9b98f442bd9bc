"""The strategies that configs can name."""

from __future__ import annotations

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.strategies.distillation import Distillation
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("finetune")
def finetune() -> Strategy:
    """Train on the new images and do nothing about forgetting.

    Example:
        >>> finetune().components
        ()
    """
    return Strategy()


@register_strategy("correlation")
def correlation(weight: float = 10.0, temperature: float = 4.0) -> Strategy:
    """Distil the similarity matrix of the previous task's model.

    Args:
        weight: weight of the correlation loss (10 in Chen et al., IEEE TMM 2022).
        temperature: its temperature.

    Example:
        >>> [component.name for component in correlation(weight=5).components]
        ['correlation_loss']
    """
    loss = CorrelationDistillationLoss(temperature)
    return Strategy((Distillation("correlation_loss", loss, weight),))
