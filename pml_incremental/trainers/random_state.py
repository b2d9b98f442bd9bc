"""Where every random stream of this process is."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch on every device in use.

    Returns:
        Plain values, arrays and tensors, for :func:`restore_random_state`.

    Example:
        >>> before = random_state()
        >>> first = torch.rand(1)
        >>> restore_random_state(before)
        >>> bool(first == torch.rand(1))
        True
    """
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on with the streams from where :func:`random_state` found them.

    Args:
        state: what it returned.
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
