"""A loss as a plain number."""

from __future__ import annotations

from torch import Tensor


def loss_value(loss: Tensor | float) -> float:
    """The value of a loss; PML's are tensors or, before they are computed, plain zeros."""
    return float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
