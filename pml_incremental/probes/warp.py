"""Probes that are images turned, zoomed, sheared, shifted and mirrored."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.functional.checks import widen
from pml_incremental.probes._checks import check_images, check_number, check_range, uniform


def warp(
    images: Tensor,
    generator: torch.Generator,
    degrees: float = 180.0,
    scale: tuple[float, float] = (0.7, 1.3),
    shear: float = 0.4,
    shift: float = 0.0,
    flip: bool = True,
) -> Tensor:
    r"""Apply another random affine transform to each image.

    Pixel p, counted from the centre, takes the value at

    .. math:: \frac1z \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix}
              \begin{pmatrix} m & s \\ 0 & 1 \end{pmatrix} p + t

    with angle a, zoom z, shear s, shift t, and m = -1 for a mirrored image. Values between pixels
    are bilinear, in float32 or wider; outside of the image those of its border go on.

    Args:
        images: shape (N, C, H, W), with any values.
        generator: of all that is drawn, on the CPU.
        degrees: largest angle either way, at least 0.
        scale: smallest and largest zoom, above 0; 2 shows everything at twice the size.
        shear: largest horizontal shear either way, in pixels for each pixel of height, at least 0.
        shift: largest shift either way, as a share of height and width, at least 0.
        flip: whether half of the images, drawn one by one, are mirrored left to right.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if an option is outside of its range or images are not (N, C, H, W).
        TypeError: if an option is no number or images are not floating-point.

    Example:
        >>> images = torch.rand(4, 3, 16, 24)
        >>> warp(images, torch.Generator().manual_seed(0), degrees=15).shape
        torch.Size([4, 3, 16, 24])
    """
    _check(degrees, scale, shear, shift, flip)
    check_images("warp", images)
    count = len(images)
    turn = math.radians(degrees)
    angles = uniform(-turn, turn, (count,), generator)
    zooms = uniform(*scale, (count,), generator)
    shears = uniform(-shear, shear, (count,), generator)
    shifts = uniform(-shift, shift, (count, 2), generator)
    is_mirrored = uniform(0, 1, (count,), generator) < (0.5 if flip else 0.0)
    matrices = _matrices(angles, zooms, shears, 1 - 2 * is_mirrored.to(shears))
    return _look_up(images, matrices, shifts)


def _matrices(angles: Tensor, zooms: Tensor, shears: Tensor, mirrors: Tensor) -> Tensor:
    """From a pixel's place, (x, y) from the centre, to where it is looked up, (N, 2, 2)."""
    cos, sin = angles.cos(), angles.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    zero, one = torch.zeros_like(shears), torch.ones_like(shears)
    shear = torch.stack([mirrors, shears, zero, one], dim=1).view(-1, 2, 2)
    return rotation @ shear / zooms.view(-1, 1, 1)


def _look_up(images: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    """Take each pixel from where its matrix, and a shift by shares of (width, height), puts it."""
    wide = widen(images)
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], dtype=matrices.dtype)
    # The grid runs from -1 to 1 over width and height alike: a rotation of it would distort.
    in_grid = matrices * size / size.view(2, 1)
    theta = torch.cat([in_grid, 2 * shifts.unsqueeze(2)], dim=2).to(wide)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    found = F.grid_sample(wide, grid, padding_mode="border", align_corners=False)
    return found.to(images.dtype)


def _check(degrees: Any, scale: Any, shear: Any, shift: Any, flip: Any) -> None:
    for option, value in (("degrees", degrees), ("shear", shear), ("shift", shift)):
        check_number("warp", option, value)
    check_range("warp", "scale", scale, above=0)
    if not isinstance(flip, bool):
        raise TypeError(f"flip of warp must be true or false, got {flip!r}")
