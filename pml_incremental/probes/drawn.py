"""Probes that are drawn from nothing, in the range of values that a batch has."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.functional.checks import widen
from pml_incremental.probes._checks import check_count, check_images, check_range, uniform

# Leaves: half the longer axis, as a share of half the image's side.
SMALLEST, LARGEST = 0.15, 1.0


def strokes(
    images: Tensor,
    generator: torch.Generator,
    cells: tuple[int, int] = (3, 8),
    width: tuple[float, float] = (0.25, 0.75),
) -> Tensor:
    """Draw random curved strokes on an even ground.

    A stroke is where smooth noise is near 0: normal numbers on a grid, bicubic in between, of an
    absolute value below a width. The ground is each channel's smallest value where the batch's mean
    is nearer to that, else its largest; ink goes to the other end of the range. Of several channels
    one goes all the way and the others a random part of it, so that each image has its own colour.

    Args:
        images: of which only each channel's smallest, largest and mean value counts, shape
            (N, C, H, W).
        generator: of all that is drawn, on the CPU.
        cells: fewest and most cells of the grid along a side; more of them give finer strokes.
            Drawn for each image.
        width: smallest and largest width, in standard deviations of the noise. Drawn for each
            image.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if an option is outside of its range or images are not (N, C, H, W).
        TypeError: if an option has the wrong type or images are not floating-point.

    Example:
        >>> images = torch.zeros(4, 1, 16, 16)
        >>> images[:, :, 8] = 1
        >>> made = strokes(images, torch.Generator().manual_seed(0))
        >>> made.shape, made.unique().tolist()
        (torch.Size([4, 1, 16, 16]), [0.0, 1.0])
    """
    _check_cells("strokes", cells)
    check_range("strokes", "width", width)
    check_images("strokes", images)
    count, channels = images.shape[:2]
    noise = _smooth_noise(images, 1, cells, generator)
    widths = uniform(*width, (count, 1, 1, 1), generator)
    colours = uniform(1, 0, (count, channels, 1, 1), generator)  # never 0
    colours /= colours.amax(dim=1, keepdim=True)
    inked = (noise.abs() < widths.to(images.device)) * colours.to(images.device)
    return _between_extremes(torch.where(_is_dark(images), inked, 1 - inked), images)


def blobs(images: Tensor, generator: torch.Generator, cells: tuple[int, int] = (3, 8)) -> Tensor:
    """Draw smooth blobs, in each channel others.

    They are normal numbers on a grid, bicubic in between, stretched so that each channel of each
    image goes from the batch's smallest value in that channel to its largest.

    Args:
        images: of which only each channel's smallest and largest value counts, shape (N, C, H, W).
        generator: of all that is drawn, on the CPU.
        cells: fewest and most cells of the grid along a side; more of them give smaller blobs.
            Drawn for each image.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if cells are below 1 or images are not (N, C, H, W).
        TypeError: if cells are not two whole numbers or images are not floating-point.

    Example:
        >>> images = torch.rand(4, 3, 16, 16)
        >>> made = blobs(images, torch.Generator().manual_seed(0))
        >>> bool(made[0, 2].max() == images[:, 2].max())
        True
    """
    _check_cells("blobs", cells)
    check_images("blobs", images)
    noise = _smooth_noise(images, images.shape[1], cells, generator)
    low, high = noise.amin((2, 3), keepdim=True), noise.amax((2, 3), keepdim=True)
    tiny = torch.finfo(noise.dtype).tiny  # an image may have a single pixel
    return _between_extremes((noise - low) / (high - low).clamp(min=tiny), images)


def dead_leaves(images: Tensor, generator: torch.Generator, leaves: int = 24) -> Tensor:
    """Draw ellipses of many sizes that cover each other, each of one colour.

    Their edges, sizes and overlaps are distributed as those of things in photos. Places, colours,
    directions and proportions (1:2 to 1:1) are even; sizes follow a power law of exponent 3.

    Source: Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021, with the exponent
    of its code; it draws polygons too and goes on until all is covered.

    Args:
        images: of which only each channel's smallest and largest value counts, shape (N, C, H, W).
        generator: of all that is drawn, on the CPU.
        leaves: ellipses in each image, at least 1, on a ground of a random colour.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if leaves is below 1 or images are not (N, C, H, W).
        TypeError: if leaves is no whole number or images are not floating-point.

    Example:
        >>> images = torch.rand(4, 3, 16, 16)
        >>> made = dead_leaves(images, torch.Generator().manual_seed(0), leaves=2)
        >>> [len(channel.unique()) <= 3 for channel in made[0]]
        [True, True, True]
    """
    check_count("dead_leaves", "leaves", leaves)
    check_images("dead_leaves", images)
    count, channels, height, width = images.shape
    shapes = uniform(0, 1, (leaves, 5, count, 1, 1, 1), generator).to(images.device)
    colours = uniform(0, 1, (leaves + 1, count, channels, 1, 1), generator).to(images.device)
    unit = math.sqrt(height * width)
    x = _places(width, width / unit, images.device)
    y = _places(height, height / unit, images.device).view(-1, 1)
    drawn = colours[-1].expand(images.shape)
    for shape, colour in zip(shapes, colours[:-1], strict=True):
        drawn = torch.where(_in_leaf(x, y, shape), colour, drawn)
    return _between_extremes(drawn, images)


def _in_leaf(x: Tensor, y: Tensor, shape: Tensor) -> Tensor:
    """Which pixels a leaf covers, from five numbers between 0 and 1, shape (N, 1, H, W)."""
    across, down, size, proportion, direction = shape
    x = x - (2 * across - 1) * x.abs().max()
    y = y - (2 * down - 1) * y.abs().max()
    # The inverse of the cumulative distribution of sizes, whose density falls with the cube.
    smallest, largest = SMALLEST**-2, LARGEST**-2
    radius = (smallest - size * (smallest - largest)).rsqrt()
    cos, sin = (math.pi * direction).cos(), (math.pi * direction).sin()
    along, aside = x * cos + y * sin, y * cos - x * sin
    covered: Tensor = along.square() + (2 * aside / (1 + proportion)).square() < radius.square()
    return covered


def _places(count: int, half: float, device: torch.device) -> Tensor:
    """Centres of count pixels that together go from -half to half, shape (count,)."""
    pixels = torch.arange(count, dtype=torch.float32, device=device)
    return half * ((2 * pixels + 1) / count - 1)


def _smooth_noise(
    images: Tensor, channels: int, cells: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Normal noise on grids of random coarseness, bicubic in between, (N, channels, H, W)."""
    count, _, height, width = images.shape
    # All grids are as large as the finest, and each image shows as many cells of its own as it
    # shall; bicubic interpolation looks two cells further.
    side = cells[1] + 4
    sizes = (count, channels, side, side)
    noise = torch.randn(sizes, generator=generator, dtype=torch.float32).to(images.device)
    shown = torch.randint(cells[0], cells[1] + 1, (count, 1, 1), generator=generator) / side
    theta = shown.to(noise) * torch.eye(2, 3).to(noise)
    grid = F.affine_grid(theta, [count, channels, height, width], align_corners=False)
    return F.grid_sample(noise, grid, mode="bicubic", align_corners=False)


def _between_extremes(shares: Tensor, images: Tensor) -> Tensor:
    """From each channel's smallest value (share 0) to its largest (1), in the images' dtype."""
    low, high = _extremes(images)
    return torch.lerp(low, high, shares.to(low)).clamp(low, high).to(images.dtype)


def _is_dark(images: Tensor) -> Tensor:
    """Whether a channel's mean is nearer to its smallest value, shape (1, C, 1, 1)."""
    low, high = _extremes(images)
    return widen(images).mean((0, 2, 3), keepdim=True) < (low + high) / 2


def _extremes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel in the batch, shape (1, C, 1, 1)."""
    wide = widen(images)
    return wide.amin((0, 2, 3), keepdim=True), wide.amax((0, 2, 3), keepdim=True)


def _check_cells(probe: str, cells: Any) -> None:
    check_range(probe, "cells", cells)
    for number in cells:
        check_count(probe, "cells", number)
