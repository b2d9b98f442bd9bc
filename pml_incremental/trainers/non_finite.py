"""Losses and gradients that are NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pml_incremental.trainers._terms import loss_value

if TYPE_CHECKING:
    from pml_incremental.trainers.step_mixin import StepMixin

REMEDY = (
    "Lower the learning rate, clip the gradients, look for images that give NaN embeddings, or "
    "leave such batches out with on_non_finite: skip"
)


class NonFiniteLossError(ValueError):
    """A loss or gradient became NaN or infinite.

    The weights are those of before the iteration, unless the message says otherwise.
    """


class FiniteCheck:
    """Sees whether a total loss, and the gradients that came of it, are finite.

    Every look at them waits for the device. With an interval above 1 they are looked at together,
    when the steps were taken already.
    """

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"check_finite_every must be at least 1 iteration, got {every}")
        self.every = every
        self._pending: list[Tensor] = []

    def before_step(self, trainer: StepMixin) -> bool:
        """Whether loss and gradients are finite; True if that is to be seen later."""
        if self.every == 1:
            # Lengths take a tenth of the time; but the square of what is finite may overflow.
            return bool(_are_finite(trainer, 2.0)) or bool(_are_finite(trainer, torch.inf))
        self._pending.append(_are_finite(trainer, torch.inf))
        return True

    def after_step(self, trainer: StepMixin) -> None:
        """Look at what was put off, if it is time."""
        if len(self._pending) >= self.every:
            self.settle(trainer)

    def settle(self, trainer: StepMixin) -> None:
        """Look at what was put off, as someone is about to rely on the weights."""
        pending, self._pending = self._pending, []
        if pending and not bool(torch.stack(pending).all()):
            raise NonFiniteLossError(
                f"a loss or gradient was not finite in one of the {len(pending)} iterations up to "
                f"iteration {trainer.iteration + 1} of epoch {trainer.epoch}, and the weights are "
                "spoilt. Go on from the last checkpoint, with check_finite_every: 1 to be told "
                "which, where, and of which images"
            )


def is_finite(loss: Tensor) -> bool:
    """Whether a loss is a number."""
    return bool(loss.detach().isfinite())


def non_finite_error(trainer: StepMixin) -> NonFiniteLossError:
    """The error with each loss's value and the images of the iteration."""
    return NonFiniteLossError(_describe(trainer))


def _describe(trainer: StepMixin) -> str:
    """Which loss or gradient is not finite, where in training, and what to do."""
    values = {name: loss_value(loss) for name, loss in trainer.losses.items()}
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


def _are_finite(trainer: StepMixin, norm: float) -> Tensor:
    """Whether the total loss and a norm of each gradient are finite, as a tensor on the device.

    The gradients are those that will be stepped with, if they are not sparse.
    """
    loss = trainer.losses["total_loss"].detach()
    gradients = [
        parameter.grad
        for optimizer in trainer.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and not parameter.grad.is_sparse
    ]
    norms = torch._foreach_norm(gradients, norm) if gradients else ()
    return torch.isfinite(torch.stack([loss, *(value.to(loss) for value in norms)])).all()


def _named_gradients(trainer: StepMixin) -> Iterator[tuple[str, Tensor]]:
    for owner, module in trainer.trained_modules().items():
        for name, parameter in module.named_parameters():
            if parameter.grad is not None and not parameter.grad.is_sparse:
                yield f"{owner}.{name}", parameter.grad
