"""The feature maps that a trunk makes on its way, pooled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.functional.precision import widen


@contextmanager
def watched_maps(trunk: nn.Module) -> Iterator[list[Tensor]]:
    """Note the last feature map of each resolution while a trunk computes.

    Of a residual network these are the outputs of its stages. A map is what a module that has
    weights puts out, of shape (N, C, H, W) with H and W above 1, or of tokens (N, L, C).

    Args:
        trunk: called once within.

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
