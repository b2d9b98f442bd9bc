"""Probes put together from probes: one after another, and side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pml_incremental.probes.probe import Probe, check_probe_images, probe_name


def in_turn(probes: Sequence[Probe]) -> Probe:
    """Let several probes act one after another.

    Args:
        probes: at least one, in the order in which they act.

    Returns:
        A probe. When called, it checks what each of them makes by
        :func:`~pml_incremental.probes.check_probe_images`.

    Raises:
        ValueError: if there are none.
        TypeError: if one of them cannot be called.

    Example:
        >>> add_one, double = (lambda x, generator: x + 1), (lambda x, generator: x * 2)
        >>> in_turn([add_one, double])(torch.zeros(1, 1, 1, 1), torch.Generator()).item()
        2.0
    """
    return partial(_act_in_turn, _checked("in_turn", probes))


def side_by_side(probes: Sequence[Probe]) -> Probe:
    """Let each of several probes make an equal share of the images.

    The shares differ by one image at most, and which probe gets the larger one is drawn, as is
    which images each one gets. So every probe makes as many on average, also where there are fewer
    images than probes. A probe sees nothing but its share: it mixes images, or takes the range of
    values, of these alone.

    Args:
        probes: at least one.

    Returns:
        A probe. When called, it checks what each of them makes by
        :func:`~pml_incremental.probes.check_probe_images`.

    Raises:
        ValueError: if there are none.
        TypeError: if one of them cannot be called.

    Example:
        >>> black, white = (lambda x, generator: x * 0), (lambda x, generator: x * 0 + 1)
        >>> made = side_by_side([black, white])(torch.rand(6, 1, 1, 1), torch.Generator())
        >>> made.sum().item()
        3.0
    """
    return partial(_act_side_by_side, _checked("side_by_side", probes))


def _act_in_turn(probes: Sequence[Probe], images: Tensor, generator: torch.Generator) -> Tensor:
    for probe in probes:
        images = _act(probe, images, generator)
    return images


def _act_side_by_side(
    probes: Sequence[Probe], images: Tensor, generator: torch.Generator
) -> Tensor:
    order = torch.randperm(len(images), generator=generator).to(images.device)
    turns = torch.randperm(len(probes), generator=generator).tolist()
    shares = images[order].tensor_split(len(probes))
    made = [
        _act(probes[turn], share, generator)
        for turn, share in zip(turns, shares, strict=True)
        if len(share)
    ]
    return torch.cat(made)[order.argsort()]


def _act(probe: Probe, images: Tensor, generator: torch.Generator) -> Tensor:
    made = probe(images, generator)
    check_probe_images(made, images, probe_name(probe))
    return made


def _checked(name: str, probes: Sequence[Probe]) -> tuple[Probe, ...]:
    if not probes:
        raise ValueError(f"{name} got no probes: give it at least one, such as warp")
    for probe in probes:
        if not callable(probe):
            raise TypeError(
                f"{name} takes functions of images and a generator, got {probe!r}: build_probe "
                "finds them by name"
            )
    return tuple(probes)
