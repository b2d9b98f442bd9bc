"""The strategy that keeps what the classifier says."""

from __future__ import annotations

from pml_incremental.losses import LogitDistillationLoss
from pml_incremental.strategies.distillation import Distillation
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("lwf")
def lwf(weight: float = 1.0, temperature: float = 2.0) -> Strategy:
    """Distil the previous classifier's answers on the new images (learning without forgetting).

    Needs a classifier in the config.

    Args:
        weight: weight of the loss; ours. That of Li & Hoiem, TPAMI 2018, is 0.25 here, as their
            loss has no factor of the squared temperature.
        temperature: of both softmaxes (2 in the paper).

    Example:
        >>> [component.needs_classifier for component in lwf().components]
        [True]
    """
    loss = LogitDistillationLoss(temperature)
    return Strategy((Distillation("lwf_loss", loss, weight, compares="logits"),))
