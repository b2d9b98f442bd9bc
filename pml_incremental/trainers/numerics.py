"""The numbers of a step: what is NaN or infinite, mixed precision, scaled gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from pml_incremental.functional.checks import widen
from pml_incremental.trainers._terms import loss_value

# A StepMixin, which imports this module.
Trainer: TypeAlias = Any

#: What networks compute in; their weights stay float32.
Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

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

    def before_step(self, trainer: Trainer) -> bool:
        """Whether loss and gradients are finite; True if that is to be seen later."""
        if self.every == 1:
            # Lengths take a tenth of the time; but the square of what is finite may overflow.
            return bool(_are_finite(trainer, 2.0)) or bool(_are_finite(trainer, torch.inf))
        self._pending.append(_are_finite(trainer, torch.inf))
        return True

    def after_step(self, trainer: Trainer) -> None:
        """Look at what was put off, if it is time."""
        if len(self._pending) >= self.every:
            self.check_pending(trainer)

    def check_pending(self, trainer: Trainer) -> None:
        """Look at what was put off, as someone is about to rely on the weights."""
        pending, self._pending = self._pending, []
        if pending and not bool(torch.stack(pending).all()):
            raise NonFiniteLossError(
                f"a loss or gradient was not finite in one of the {len(pending)} iterations up to "
                f"iteration {trainer.iteration + 1} of epoch {trainer.epoch}, and the weights are "
                "damaged. Resume from the last checkpoint with check_finite_every: 1 to see which, "
                "where, and for which images"
            )


def is_finite(loss: Tensor) -> bool:
    """Whether a loss is a number."""
    return bool(loss.detach().isfinite())


def non_finite_error(trainer: Trainer) -> NonFiniteLossError:
    """The error with each loss's value and the images of the iteration."""
    return NonFiniteLossError(_describe(trainer))


def _describe(trainer: Trainer) -> str:
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
    # The images listed are the batch's, and not those that such a loss compares the models on.
    probes = getattr(trainer, "probes", {})
    culprits = [
        f"{name} (on probes made by {probes[name].images!r})" if name in probes else name
        for name in culprits
    ]
    listed = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    verb = "are" if len(culprits) > 1 else "is"
    return (
        f"{' and '.join(culprits) or 'total_loss'} {verb} not finite at epoch {trainer.epoch}, "
        f"iteration {trainer.iteration + 1} of {trainer.iterations_per_epoch} ({listed}), with "
        f"{', '.join(trainer.batch_images())}. The weights are those of before this iteration. "
        f"{REMEDY}"
    )


def _are_finite(trainer: Trainer, norm: float) -> Tensor:
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


def _named_gradients(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    for owner, module in trainer.trained_modules().items():
        for name, parameter in module.named_parameters():
            if parameter.grad is not None and not parameter.grad.is_sparse:
                yield f"{owner}.{name}", parameter.grad


class Autocast:
    """Calls networks in a precision, and gives what they return as float32 again.

    Losses come after it, and stay outside: cosines that differ in the third digit are one number
    in bfloat16, and comparing a batch with itself costs little beside a network.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        if precision not in _TYPES:
            raise ValueError(f"precision must be one of {', '.join(_TYPES)}, got {precision!r}")
        self.dtype = _TYPES[precision]
        self.device_type = device.type

    def __call__(self, network: Callable[..., Any], *inputs: Tensor) -> Any:
        """What a network makes of its inputs: a tensor, a tuple of tensors, or None."""
        if self.dtype is None:
            return network(*inputs)
        with torch.autocast(self.device_type, self.dtype):
            outputs = network(*inputs)
        return _wide(outputs)


class GradientScaling:
    """Scales the loss so that small gradients survive in fp16, and the gradients back.

    A scale that was too high gives gradients that are not finite. That is how the scale is found
    and no error: the step is left out, and the scale lowered. With other precisions than fp16 it
    does nothing.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.scaler.scale(torch.zeros((), device=device))  # or it would have no scale to change yet
        self.skipped_steps = 0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to back-propagate."""
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def unscale(self, optimizers: Iterable[Optimizer]) -> None:
        """Bring the gradients, once all are there, to what they are without a scale."""
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)

    def may_lower(self) -> bool:
        """Whether the scale can be the reason for gradients that are not finite."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1

    def skip_step(self) -> None:
        """Lower the scale, as gradients were not finite."""
        self.skipped_steps += 1
        self.scaler.update(self.scaler.get_scale() * self.scaler.get_backoff_factor())

    def after_step(self) -> None:
        """Raise the scale if steps went well for long."""
        self.scaler.update()

    def forget_step(self) -> None:
        """Leave the scale as it is, as gradients were not finite for another reason."""
        if self.scaler.is_enabled():
            self.scaler.update(self.scaler.get_scale())

    def state_dict(self) -> dict[str, Any]:
        """The scale and how long it has held."""
        return {"scaler": self.scaler.state_dict(), "skipped_steps": self.skipped_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.skipped_steps = state["skipped_steps"]
        self.scaler.load_state_dict(state["scaler"])


def _wide(outputs: Any) -> Any:
    if isinstance(outputs, tuple):
        return tuple(_wide(output) for output in outputs)
    return widen(outputs) if isinstance(outputs, Tensor) else outputs
