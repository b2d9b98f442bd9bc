"""Images whose random transforms do not depend on which process loads them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


class SeededItems(Dataset[Any]):
    """A dataset whose items are asked for as ``(index, seed)``.

    Every generator is seeded before an item is made, so that the same pair gives the same item in
    any data loading process, whatever that process made before.

    Args:
        dataset: whose items these are.

    Example:
        >>> class Noise(Dataset):
        ...     def __getitem__(self, index):
        ...         return torch.rand(1).item()
        >>> items = SeededItems(Noise())
        >>> items[0, 7] == items[0, 7], items[0, 7] == items[0, 8]
        (True, False)
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: tuple[int, int]) -> Any:
        place, seed = index
        seed_generators(seed)
        return self.dataset[place]


def seed_generators(seed: int) -> None:
    """Seed the generators that transforms draw from: those of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
