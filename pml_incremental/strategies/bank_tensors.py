"""A bank of estimators as plain tensors, for a component's memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.models import tensors_under
from pml_incremental.strategies.accuracy_ranges import Range

_PREFIX = "bank."


def pack_bank(bank: EstimatorBank, ranges: Mapping[int, Range]) -> dict[str, Tensor]:
    """The bank's tensors, its counters, and the ranges measured last.

    Args:
        bank: to be stored.
        ranges: (low, high) by number of the prior model, from 1 without gaps.

    Returns:
        Tensors by name.
    """
    state = bank.state_dict()
    width = state["embedding_width"] or 0
    counters = torch.tensor([state["prior_models"], state["seed"], state["draws"], width])
    limits = torch.tensor([ranges[k] for k in sorted(ranges)], dtype=torch.float64)
    tensors = {_PREFIX + name: tensor for name, tensor in state["tensors"].items()}
    return {"counters": counters, "ranges": limits.reshape(-1, 2), **tensors}


def load_bank(bank: EstimatorBank, tensors: Mapping[str, Tensor]) -> dict[int, Range]:
    """Take back what :func:`pack_bank` gave.

    Args:
        bank: with the estimator and arguments of the one that was packed; changed in place.
        tensors: what ``pack_bank`` returned.

    Returns:
        The ranges.
    """
    prior_models, seed, draws, width = (int(value) for value in tensors["counters"])
    bank.embedding_width = width or None
    state = {**bank.state_dict(), "prior_models": prior_models, "seed": seed, "draws": draws}
    state["tensors"] = tensors_under(_PREFIX, tensors)
    bank.load_state_dict(state)
    return {k: (low, high) for k, (low, high) in enumerate(tensors["ranges"].tolist(), 1)}
