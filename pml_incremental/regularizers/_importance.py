"""How much each parameter matters: mean magnitude of gradients over batches, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from pml_incremental.functional.checks import widen
from pml_incremental.models.modes import evaluation_mode

Models: TypeAlias = nn.Module | Mapping[str, nn.Module]

Batch = TypeVar("Batch")


def mean_gradient_magnitudes(
    owner: str,
    models: Models,
    batches: Iterable[Batch],
    scalar: Callable[[Batch], Tensor],
    magnitude: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Mean over batches of ``magnitude(gradient of scalar(batch))``, for each trainable parameter.

    Runs in evaluation mode and leaves ``.grad`` alone.
    """
    parameters = named_parameters(models)
    if not parameters:
        raise ValueError(f"{owner} found no trainable parameter: pass the model before freezing it")
    totals = {name: torch.zeros_like(widen(p.detach())) for name, p in parameters.items()}
    count = 0
    with evaluation_mode(*dict(named_modules(models)).values()), torch.enable_grad():
        for batch in batches:
            count += 1
            value = scalar(batch)
            check_scalar(owner, value)
            gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for total, gradient in zip(totals.values(), gradients, strict=True):
                if gradient is not None:
                    total += magnitude(widen(gradient))
    if count == 0:
        raise ValueError(
            f"{owner}.consolidate got no batches: pass the training batches of the task that has "
            "just ended (an iterator that was used up before is empty)"
        )
    for name, total in totals.items():
        if not torch.isfinite(total).all():
            raise ValueError(
                f"{owner} measured a non-finite importance for parameter {name!r}: look for NaN or "
                "infinite losses in the batches"
            )
    return {name: total / count for name, total in totals.items()}


def check_scalar(owner: str, value: object) -> None:
    """Raise unless ``value`` is a scalar that depends on parameters."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{owner} needs one scalar tensor for each batch, got {got}")
    if not value.requires_grad:
        raise ValueError(
            f"{owner} got a value without gradient: compute it with the model that is passed, "
            "outside torch.no_grad()"
        )


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
