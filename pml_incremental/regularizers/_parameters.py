"""The trainable parameters of one model or of several, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

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
