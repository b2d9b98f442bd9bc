"""Checks of arguments that several probes share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def check_images(probe: str, images: Tensor) -> None:
    """Raise unless ``images`` are floating-point images, at least one, of at least one pixel."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images of {probe} must be a tensor, got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(
            f"images of {probe} must be of a floating-point dtype, got {images.dtype}: put "
            "ToTensor among the transforms"
        )
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(
            f"images of {probe} must have shape (N, C, H, W), none of them 0, got "
            f"{tuple(images.shape)}"
        )


def check_number(probe: str, option: str, value: Any, above: float | None = None) -> None:
    """Raise unless ``value`` is a finite number, at least 0 or, if it is given, more than above."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{option} of {probe} must be a number, got {value!r}")
    fits = value >= 0 if above is None else value > above
    if not (fits and math.isfinite(value)):
        bound = "at least 0" if above is None else f"above {above}"
        raise ValueError(f"{option} of {probe} must be finite and {bound}, got {value}")


def check_range(probe: str, option: str, pair: Any, above: float | None = None) -> None:
    """Raise unless ``pair`` is a smallest and a largest number, both as in `check_number`."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(
            f"{option} of {probe} must be two numbers, smallest and largest, got {pair!r}"
        )
    for value in pair:
        check_number(probe, option, value, above)
    if pair[0] > pair[1]:
        raise ValueError(
            f"{option} of {probe} must be the smallest number and then the largest, got {pair!r}: "
            "swap them"
        )


def check_count(probe: str, option: str, value: Any) -> None:
    """Raise unless ``value`` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} of {probe} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{option} of {probe} must be at least 1, got {value}")


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers evenly from low to high, float32, on the CPU."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


def others(images: Tensor, generator: torch.Generator) -> Tensor:
    """For each image another one of the batch, each taken once; of a single image that image."""
    order = torch.randperm(len(images), generator=generator)
    next_in_order = order.roll(-1)[order.argsort()]
    return images[next_in_order.to(images.device)]
