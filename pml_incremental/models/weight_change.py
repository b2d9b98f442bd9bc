"""How far a model's weights are from another's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def weight_change(models: Mapping[str, nn.Module], before: Mapping[str, nn.Module]) -> Tensor:
    r"""Relative change of the weights, as a mean over layers.

    .. math:: \frac{1}{L} \sum_l \frac{\lVert W_l - W_l' \rVert}{\lVert W_l' \rVert}

    over all matrices and convolution kernels W' that are not 0. A trained trunk that is fine-tuned
    with small steps changes by a few percent; a small network that learns a second task as it did
    the first, by a third.

    Args:
        models: by name.
        before: of the same architecture, by the same names; others are left out.

    Returns:
        A scalar, on the device of the models; 0 where there are no such weights.

    Raises:
        ValueError: if two weights of one name have different shapes.

    Example:
        >>> old, new = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> _ = new.weight.data.copy_(1.5 * old.weight)
        >>> round(weight_change({"trunk": new}, {"trunk": old}).item(), 4)
        0.5
    """
    pairs = []
    for name in sorted(models.keys() & before.keys()):
        old = dict(before[name].named_parameters())
        for key, weight in models[name].named_parameters():
            if weight.ndim > 1:
                if weight.shape != old[key].shape:
                    raise ValueError(
                        f"{name}.{key} has shape {tuple(weight.shape)} and had "
                        f"{tuple(old[key].shape)}: compare models of one architecture"
                    )
                pairs.append((weight, old[key]))
    if not pairs:
        return torch.zeros(())
    now, then = map(list, zip(*pairs, strict=True))
    steps = torch.stack(torch._foreach_norm(torch._foreach_sub(now, then)))
    lengths = torch.stack(torch._foreach_norm(then))
    known = lengths > 0
    changes = steps / lengths.where(known, lengths.new_ones(()))
    return changes.where(known, changes.new_zeros(())).sum() / known.sum().clamp(min=1)
