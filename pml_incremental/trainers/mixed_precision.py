"""Networks in half precision, with losses and gradients in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from pml_incremental.functional.checks import widen

#: What networks compute in; their weights stay float32.
Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
