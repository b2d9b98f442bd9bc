"""Weights between those of two models."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_towards(target: nn.Module, source: nn.Module, share: float) -> None:
    r"""Move a model's weights part of the way to another's, in place.

    .. math:: \theta \leftarrow (1 - s) \, \theta + s \, \theta_{source}

    Floating-point buffers such as BatchNorm's statistics move too; counters stay. Where one model
    has grown (a classifier with new classes), the leading block that both have moves.

    Args:
        target: the model to change.
        source: of the same architecture.
        share: s, from 0 (nothing moves) to 1 (the source's weights).

    Raises:
        ValueError: if share is outside [0, 1], or the source lacks one of the weights.

    Example:
        >>> target, source = nn.Linear(1, 2), nn.Linear(1, 2)
        >>> _ = nn.init.zeros_(target.weight), nn.init.ones_(source.weight)
        >>> move_towards(target, source, share=0.25)
        >>> target.weight.tolist()
        [[0.25], [0.25]]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    found = source.state_dict()
    for name, tensor in target.state_dict().items():
        if name not in found:
            raise ValueError(
                f"{type(source).__name__} has no {name}: the models must be of one architecture"
            )
        if tensor.is_floating_point():
            sizes = zip(tensor.shape, found[name].shape, strict=True)
            block = tuple(slice(min(pair)) for pair in sizes)
            tensor[block].lerp_(found[name][block].to(tensor), share)
