"""The random streams of this process, and items seeded one by one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch on every device in use."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on with the streams from where :func:`random_state` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])


class SeededItems(Dataset[Any]):
    """A dataset whose items are asked for as ``(index, seed)``.

    Every generator is seeded before an item is made, so that the same pair gives the same item in
    any data loading process, whatever that process made before.
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
