"""Learning through low-rank changes of the trunk's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pml_incremental.extras import require
from pml_incremental.strategies.component import Component
from pml_incremental.strategies.strategy import Strategy, register_strategy


class Adaptation(Component):
    """Let an adapter learn instead of the trunk's weights.

    Args:
        adapter: makes a config of peft's.
    """

    def __init__(self, adapter: Callable[[], Any]) -> None:
        self.adapter = adapter


@register_strategy("lora")
def lora(rank: int = 8, alpha: float = 32.0, layers: Sequence[str] | None = None) -> Strategy:
    r"""Learn tasks with a teacher through a low-rank adapter, then merge it into the trunk.

    .. math:: W \leftarrow W + \frac{\alpha}{r} B A \text{ with } B A \text{ of rank } r

    Only A and B of the trunk's chosen layers learn, and all of embedder and loss. It does nothing
    else about forgetting; for sums such as ``lora+function-matching``. Needs the extra ``peft``.

    Source: Hu et al. (LoRA), ICLR 2022.

    Args:
        rank: r, at least 1.
        alpha: scale of the change, above 0; 32 was the best of 8, 32 and 128 on held-out training
            images of two groups of emoji.
        layers: last parts of the names of the layers; default: the linear layers of attention or,
            without attention, all linear layers and convolutions
            (:func:`~pml_incremental.models.adapter_layers`).

    Raises:
        ValueError: if rank is below 1, or alpha not above 0.

    Example:
        >>> [type(component).__name__ for component in lora(rank=4).components]
        ['Adaptation']
    """
    if rank < 1 or not alpha > 0:
        raise ValueError(f"rank must be at least 1 and alpha above 0, got {rank} and {alpha}")

    def adapter() -> Any:
        require("peft", "lora", extra="peft")
        from peft import LoraConfig

        options: dict[str, Any] = {"r": rank, "lora_alpha": alpha}
        return LoraConfig(**options, target_modules=None if layers is None else list(layers))

    return Strategy((Adaptation(adapter),))
