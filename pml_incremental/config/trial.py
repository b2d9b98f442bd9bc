"""Building what is cheap to build, to find values that a class refuses."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from pml_incremental.config.objects import ObjectSpec


def _parameters() -> dict[str, Any]:
    import torch

    return {"params": [torch.nn.Parameter(torch.zeros(1, 1))]}


# Stand-ins for what the program fills in. Other categories read files, load weights or need data.
_STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "loss": lambda: {"num_classes": 2, "embedding_size": 8},
    "miner": dict,
    "transform": dict,
    "optimizer": _parameters,
    "strategy": dict,
}


def find_trial_problem(category: str, name: str, kwargs: dict[str, Any]) -> str | None:
    """Why an object cannot be built, if so.

    Args:
        category: where its class is looked up; only losses, miners, transforms, optimizers and
            strategies are tried.
        name: of its class.
        kwargs: its arguments, already checked against the class's signature.

    Returns:
        What its class says against the values, or None.

    Example:
        >>> find_trial_problem("optimizer", "Adam", {"lr": -1})
        'cannot be built: Invalid learning rate: -1'
        >>> find_trial_problem("optimizer", "Adam", {"lr": 1})
    """
    if category not in _STAND_INS:
        return None
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            ObjectSpec(class_name=name, kwargs=kwargs).build(category, **_STAND_INS[category]())
        except Exception as error:  # noqa: BLE001  # PML raises bare Exceptions too
            return f"cannot be built: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    """What the error says or, for a bare assert, the line that was not true."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return " ".join(str(error).split()) or f"{line} ({type(error).__name__})"
