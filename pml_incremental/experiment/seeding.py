"""Every random choice of a run comes from one seed."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int, *scope: int) -> None:
    """Seed Python, NumPy and torch (all devices) for one part of a run.

    Each part (a task, say) gets its own stream, derived from the run's seed, so that a run that
    is resumed at a task draws the same numbers as one that was never interrupted.

    Args:
        seed: the run's seed, at least 0.
        scope: what the numbers are for, such as a task's number.

    Raises:
        ValueError: if the seed is negative.

    Example:
        >>> seed_everything(0, 2)
        >>> first = torch.rand(1)
        >>> seed_everything(0, 2)
        >>> bool(first == torch.rand(1))
        True
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    derived = int(np.random.SeedSequence([seed, len(scope), *scope]).generate_state(1)[0])
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)
