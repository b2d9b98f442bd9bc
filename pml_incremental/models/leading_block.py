"""Starting a module that has grown from the smaller one that it was."""

from __future__ import annotations

import torch
from torch import nn


def copy_leading_block(old: nn.Module, new: nn.Module) -> None:
    """Copy what was learned into a module of the same kind with more classes, in place.

    Each parameter of ``old`` fills the first rows, columns and so on of its namesake; the rest
    stays as initialised.

    Args:
        old: the smaller module.
        new: the larger module, or one of the same size.

    Raises:
        ValueError: if ``new`` lacks a parameter or has a smaller one, naming it.

    Example:
        >>> old, new = nn.Linear(4, 2), nn.Linear(4, 3)
        >>> copy_leading_block(old, new)
        >>> torch.equal(new.weight[:2], old.weight)
        True
    """
    target = dict(new.named_parameters())
    with torch.no_grad():
        for name, learned in old.named_parameters():
            found = tuple(target[name].shape) if name in target else None
            if found is None or len(found) != learned.ndim or not _fits(learned.shape, found):
                raise ValueError(
                    f"{name} of shape {tuple(learned.shape)} does not fit into "
                    f"{'nothing of that name' if found is None else found}: give two modules of "
                    "the same kind, the larger one second"
                )
            target[name][tuple(slice(0, size) for size in learned.shape)] = learned


def _fits(shape: torch.Size, into: tuple[int, ...]) -> bool:
    return all(small <= large for small, large in zip(shape, into, strict=True))
