"""Probes put together from probes: one after another, and side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

#: From images (N, C, H, W) and a generator on the CPU to new images of the same shape, dtype and
#: device. All that is random comes from the generator, and the images it is given stay as they are.
Probe: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


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


def check_probe_images(made: Any, images: Tensor, name: str) -> None:
    """Check that a probe made images of the kind that it was given.

    Only shape, dtype and device are looked at, no values.

    Args:
        made: what the probe returned.
        images: what it was given, shape (N, C, H, W).
        name: of the probe, for messages.

    Raises:
        ValueError: if made has another shape or is on another device.
        TypeError: if made is no tensor or has another dtype.

    Example:
        >>> images = torch.rand(4, 3, 8, 8)
        >>> check_probe_images(-images, images, "negative")
        >>> check_probe_images(images[:, :1], images, "grey")
        Traceback (most recent call last):
        ValueError: the probe 'grey' made images of shape (4, 1, 8, 8) from images of shape \
(4, 3, 8, 8): return as many, of the same size and channels
    """
    if not isinstance(made, Tensor):
        raise TypeError(f"the probe {name!r} made a {type(made).__name__}: return a tensor")
    if made.shape != images.shape:
        raise ValueError(
            f"the probe {name!r} made images of shape {tuple(made.shape)} from images of shape "
            f"{tuple(images.shape)}: return as many, of the same size and channels"
        )
    if made.dtype != images.dtype:
        raise TypeError(
            f"the probe {name!r} made images of {made.dtype} from images of {images.dtype}: "
            "return made.to(images.dtype)"
        )
    if made.device != images.device:
        raise ValueError(
            f"the probe {name!r} made images on {made.device} from images on {images.device}: "
            "return made.to(images.device)"
        )


def probe_name(probe: Callable[..., Any]) -> str:
    """How messages call a probe."""
    while isinstance(probe, partial):
        probe = probe.func
    return str(getattr(probe, "__name__", type(probe).__name__))
