"""What probes draw: numbers for each image, and another image for each."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers evenly from low to high, float32, on the CPU."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


def others(images: Tensor, generator: torch.Generator) -> Tensor:
    """For each image another one of the batch, each taken once; of a single image that image."""
    order = torch.randperm(len(images), generator=generator)
    next_in_order = order.roll(-1)[order.argsort()]
    return images[next_in_order.to(images.device)]
