"""Images whose random transforms do not depend on which process loads them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pml_incremental.trainers.random_state import random_state, restore_random_state


class SeededItems(Dataset[Any]):
    """A dataset whose items are asked for as ``(index, seed)``.

    Every generator is seeded before an item is made, so that the same pair gives the same item in
    any data loading process, whatever that process made before.

    Args:
        dataset: whose items these are.
        in_main_process: leave the process's random streams where they were.

    Example:
        >>> class Noise(Dataset):
        ...     def __getitem__(self, index):
        ...         return torch.rand(1).item()
        >>> items = SeededItems(Noise())
        >>> items[0, 7] == items[0, 7], items[0, 7] == items[0, 8]
        (True, False)
    """

    def __init__(self, dataset: Dataset[Any], in_main_process: bool = False) -> None:
        self.dataset = dataset
        self.in_main_process = in_main_process

    def __getitem__(self, index: tuple[int, int]) -> Any:
        place, seed = index
        before = random_state() if self.in_main_process else None
        seed_generators(seed)
        item = self.dataset[place]
        if before is not None:
            restore_random_state(before)
        return item


def seed_generators(seed: int) -> None:
    """Seed the generators that transforms draw from: those of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
