"""Parameters that grow: the leading block is what was there before."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pml_incremental.functional.precision import widen


def leading_block(name: str, parameters: Mapping[str, Tensor], size: torch.Size) -> Tensor:
    """The part of a parameter that had shape ``size`` when it was consolidated, widened."""
    if name not in parameters:
        raise ValueError(
            f"parameter {name!r} is remembered but the model has none of that name: pass the same "
            "model, or models under the same keys, as before"
        )
    parameter = parameters[name]
    return widen(parameter[_block(name, parameter.shape, size)])


def grown(name: str, tensor: Tensor | None, like: Tensor) -> Tensor:
    """``tensor`` as the leading block of zeros of the shape of ``like``."""
    result = torch.zeros_like(like)
    if tensor is not None:
        result[_block(name, like.shape, tensor.shape)] = tensor.to(like)
    return result


def _block(name: str, now: torch.Size, then: torch.Size) -> tuple[slice, ...]:
    if len(now) != len(then) or any(n < t for n, t in zip(now, then, strict=True)):
        raise ValueError(
            f"parameter {name!r} was remembered with shape {tuple(then)} and has {tuple(now)} now: "
            "it may grow at the end of a dimension, not shrink"
        )
    return tuple(slice(length) for length in then)
