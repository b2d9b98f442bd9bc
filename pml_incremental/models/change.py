"""Pooled feature maps of a trunk, how far weights have moved, and moving them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.functional.checks import widen
from pml_incremental.models.adapters import without_adapter


@contextmanager
def watched_maps(trunk: nn.Module | None) -> Iterator[list[Tensor]]:
    """Note the last feature map of each resolution while a trunk computes.

    Of a residual network these are the outputs of its stages. A map is what a module that has
    weights puts out, of shape (N, C, H, W) with H and W above 1, or of tokens (N, L, C).

    Args:
        trunk: called once within; None if nothing is to be noted.

    Yields:
        A list that the call fills.

    Raises:
        ValueError: on leaving, if the trunk was called and made no map.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 6, 1))
        >>> with watched_maps(trunk) as maps:
        ...     features = trunk(torch.zeros(4, 1, 10, 10))
        >>> [tuple(found.shape) for found in maps]
        [(4, 2, 8, 8), (4, 6, 4, 4)]
    """
    maps: list[Tensor] = []
    if trunk is None:
        yield maps
        return
    calls = 0

    def note(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal calls
        calls += module is trunk
        if not isinstance(output, Tensor) or output.ndim not in (3, 4) or 1 in output.shape[2:]:
            return
        if maps and _resolution(maps[-1]) == _resolution(output):
            maps.pop()
        maps.append(output)

    have_weights = [m for m in trunk.modules() if next(m.parameters(), None) is not None]
    hooks = [module.register_forward_hook(note) for module in have_weights]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
    if calls and not maps:
        raise ValueError(
            f"{type(trunk).__name__} makes no feature maps, which are outputs of its modules of "
            "shape (N, C, H, W) or (N, L, C): leave out what compares them (map_weight: 0)"
        )


def pooled_maps(maps: list[Tensor]) -> Tensor:
    r"""Where and in which channels the maps are active, as one unit vector for each image.

    Squared activations are summed over the width and over the height, and over tokens. Each of
    these profiles is scaled to length 1, and all of them together again.

    Source: Douillard et al. (PODNet), ECCV 2020, POD-spatial; there the profiles of each map are
    compared by themselves.

    Args:
        maps: of shape (N, C, H, W) or (N, L, C) each.

    Returns:
        Shape (N, D), D being the sum of C (H + W) and of L + C; float32 or wider.

    Example:
        >>> pooled_maps([torch.ones(2, 3, 4, 5)]).shape
        torch.Size([2, 27])
    """
    profiles: list[Tensor] = []
    for found in maps:
        energy = widen(found).square()
        dims = (2, 3) if energy.ndim == 4 else (1, 2)
        profiles += [normalize(energy.sum(dim).flatten(1)) for dim in dims]
    pooled: Tensor = torch.cat(profiles, dim=1) / len(profiles) ** 0.5
    return pooled


def _resolution(found: Tensor) -> torch.Size:
    """Of a map; of tokens their number."""
    return found.shape[2:] if found.ndim == 4 else found.shape[1:2]


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
        for key, weight in without_adapter(models[name]).named_parameters():
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
    found = without_adapter(source).state_dict()
    for name, tensor in target.state_dict().items():
        if name not in found:
            raise ValueError(
                f"{type(source).__name__} has no {name}: the models must be of one architecture"
            )
        if tensor.is_floating_point():
            sizes = zip(tensor.shape, found[name].shape, strict=True)
            block = tuple(slice(min(pair)) for pair in sizes)
            tensor[block].lerp_(found[name][block].to(tensor), share)
