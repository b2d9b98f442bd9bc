"""Losses and gradients that are NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pml_incremental.trainers.resumable_mixin import ResumableMixin

REMEDY = (
    "Lower the learning rate, clip the gradients, look for images that give NaN embeddings, or "
    "leave such batches out with on_non_finite: skip"
)


class NonFiniteLossError(ValueError):
    """A loss or gradient became NaN or infinite; the weights are those of before the iteration."""


def check_finite(trainer: ResumableMixin) -> None:
    """Refuse a total loss, and gradients that came of it, that are not finite.

    Args:
        trainer: after its backward pass.

    Raises:
        NonFiniteLossError: with each loss's value and the images of the batch.
    """
    loss = trainer.losses["total_loss"].detach()
    gradients = [gradient for _, gradient in _named_gradients(trainer)]
    # The largest entry, as a sum of squares overflows earlier; all in one look at the device.
    largest = torch._foreach_norm(gradients, torch.inf) if gradients else ()
    if not torch.isfinite(torch.stack([loss, *(value.to(loss) for value in largest)])).all():
        raise NonFiniteLossError(_describe(trainer))


def number(loss: Tensor | float) -> float:
    """A loss as a plain number."""
    return float(loss.detach()) if isinstance(loss, Tensor) else float(loss)


def _describe(trainer: ResumableMixin) -> str:
    """Which loss or gradient is not finite, where in training, and what to do."""
    values = {name: number(loss) for name, loss in trainer.losses.items()}
    culprits = [
        name for name, value in values.items() if name != "total_loss" and not math.isfinite(value)
    ]
    if not culprits and math.isfinite(values["total_loss"]):
        culprits = [
            f"the gradient of {name}"
            for name, gradient in _named_gradients(trainer)
            if not gradient.isfinite().all()
        ]
    listed = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return (
        f"{' and '.join(culprits) or 'total_loss'} is not finite at epoch {trainer.epoch}, "
        f"iteration {trainer.iteration + 1} of {trainer.iterations_per_epoch} ({listed}), with "
        f"{', '.join(trainer.batch_images())}. The weights are those of before this iteration. "
        f"{REMEDY}"
    )


def _named_gradients(trainer: ResumableMixin) -> Iterator[tuple[str, Tensor]]:
    for owner, module in trainer.trained_modules().items():
        for name, parameter in module.named_parameters():
            if parameter.grad is not None and not parameter.grad.is_sparse:
                yield f"{owner}.{name}", parameter.grad
