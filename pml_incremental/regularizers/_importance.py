"""How much each parameter matters: mean magnitude of gradients over batches, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from pml_incremental.functional.precision import widen
from pml_incremental.models.evaluation_mode import evaluation_mode
from pml_incremental.regularizers._parameters import Models, named_modules, named_parameters

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
