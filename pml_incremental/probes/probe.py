"""What a probe is: a function that makes images from images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

#: From images (N, C, H, W) and a generator on the CPU to new images of the same shape, dtype and
#: device. All that is random comes from the generator, and the images it is given stay as they are.
Probe: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


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
