"""The trainable parameters of one model or of several, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from pml_incremental.functional.precision import widen

Models: TypeAlias = nn.Module | Mapping[str, nn.Module]


def named_parameters(models: Models, trainable_only: bool = True) -> dict[str, nn.Parameter]:
    """Parameters by name; those of a mapping are named ``key.parameter``."""
    return {
        prefix + name: parameter
        for prefix, module in named_modules(models)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad or not trainable_only
    }


def named_modules(models: Models) -> Iterator[tuple[str, nn.Module]]:
    """Each model under what its parameters' names begin with; wrappers over devices left out."""
    mapping = {"": models} if isinstance(models, nn.Module) else models
    if not isinstance(mapping, Mapping):
        raise TypeError(
            "models must be a torch.nn.Module or a mapping of names to modules, got "
            f"{type(models).__name__}"
        )
    for key, module in mapping.items():
        if not isinstance(module, nn.Module):
            raise TypeError(f"model {key!r} must be a torch.nn.Module, got {type(module).__name__}")
        # A run may go on with another number of devices than it began with.
        if isinstance(module, DataParallel | DistributedDataParallel):
            module = module.module
        yield (f"{key}." if key else ""), module


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
