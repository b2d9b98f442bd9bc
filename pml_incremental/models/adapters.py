"""Adapters: a few new weights learn for the trunk's own, and are merged into them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.extras import require
from pml_incremental.wording import some_of

# Where a trunk keeps peft's wrapper; as a plain object, since the wrapper contains the trunk.
_HANDLE = "_adapter_handle"
_ATTENTION = ("attn", "attention")
# What comes of layers that peft takes for others.
_MISTAKEN = (RuntimeError, TypeError, AttributeError, AssertionError, LookupError)


@contextmanager
def adapted(trunk: nn.Module, adapter: Any) -> Iterator[None]:
    """Let an adapter learn inside instead of a trunk's weights, and merge it into them after.

    Only the adapter's parameters require gradients inside. Afterwards the trunk has the weights,
    names and ``requires_grad`` that it had, and computes what it computed with the adapter. Needs
    the extra ``peft``.

    Args:
        trunk: changed in place.
        adapter: a config of peft's, such as ``LoraConfig(r=8)``. Without ``target_modules`` it is
            put on :func:`adapter_layers`.

    Raises:
        MissingExtraError: if peft is not installed.
        ValueError: if the trunk has no such layers, with those that it has, or the adapter has no
            weights that could be merged into the trunk's.

    Example:
        >>> from peft import LoraConfig  # doctest: +SKIP
        >>> trunk = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> with adapted(trunk, LoraConfig(r=1, target_modules=["0"])):  # doctest: +SKIP
        ...     sum(p.numel() for p in trunk.parameters() if p.requires_grad)
        10
        >>> list(trunk.state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    require("peft", "an adapter", extra="peft")
    learned = {name: parameter.requires_grad for name, parameter in trunk.named_parameters()}
    wrapper = _put_on(trunk, copy.deepcopy(adapter))
    setattr(trunk, _HANDLE, (wrapper,))
    try:
        yield
    finally:
        delattr(trunk, _HANDLE)
        wrapper.merge_and_unload()
        for name, parameter in trunk.named_parameters():
            parameter.requires_grad_(learned[name])


def without_adapter(model: nn.Module) -> nn.Module:
    """A copy whose adapter is merged, inside :func:`adapted`; else the model itself."""
    if not hasattr(model, _HANDLE):
        return model
    unchanged = {id(p): p for name, p in model.named_parameters() if "base_layer" not in name}
    (wrapper,) = getattr(copy.deepcopy(model, unchanged), _HANDLE)
    merged: nn.Module = wrapper.merge_and_unload()
    return merged


def adapter_layers(trunk: nn.Module) -> list[str]:
    """Names of the layers that an adapter is put on unless others are named.

    These are the linear layers of attention. A trunk without attention: all linear layers and
    convolutions but those whose adapter could not be merged (grouped, dilated or with a padding of
    their own).

    Args:
        trunk: such as a ViT or a ConvNet.

    Raises:
        ValueError: if it has no such layers.

    Example:
        >>> adapter_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()))
        ['0']
    """
    layers = dict(_adaptable(trunk))
    attention = [name for name, layer in layers.items() if _is_of_attention(name, layer)]
    chosen = attention or [name for name, layer in layers.items() if _can_be_merged(layer)]
    if not chosen:
        raise ValueError(
            f"{type(trunk).__name__} has no linear layer and no convolution that an adapter can be "
            "put on: name other layers with target_modules, or train it without an adapter"
        )
    return chosen


def check_adapter(trunk: nn.Module, adapter: Any, images: Tensor) -> None:
    """Try an adapter on a copy of a trunk.

    Raises:
        ValueError: as :func:`adapted`, or if a layer is not used as a layer, or would not compute
            with the adapter merged what it computes with the adapter beside it.
    """
    trial = copy.deepcopy(trunk).eval()
    name = f"{type(adapter).__name__} on {type(trunk).__name__}"
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which reads weights past their layers
    try:
        with torch.no_grad(), adapted(trial, adapter):
            for parameter in trial.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)
            calls = _noted_calls(trial.eval())  # the adapter's dropout too is off
            trial(images)
    except _MISTAKEN as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name} does not work: {reason}; name others of its layers") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    for layer, call in calls.items():
        if call is None or not call.is_repeated_by(trial.get_submodule(layer)):
            reason = (
                f"{type(trunk).__name__} reads its weights without calling it"
                if call is None
                else "with the adapter merged it would compute something else"
            )
            raise ValueError(f"{name}: not on {layer}: {reason}; name others of its layers")


@dataclass(frozen=True)
class _Call:
    """What a layer took, and what it gave with and without its adapter."""

    inputs: tuple[Any, dict[str, Any]]
    output: Tensor
    output_before: Tensor

    @torch.no_grad()
    def is_repeated_by(self, layer: nn.Module) -> bool:
        arguments, options = self.inputs
        error = (_first(layer(*arguments, **options)) - self.output).norm()
        change = (self.output - self.output_before).norm()
        return bool(error <= 0.01 * change + 1e-5 * self.output.norm())  # rounding


def _noted_calls(trunk: nn.Module) -> dict[str, _Call | None]:
    """The layers with an adapter, and their calls once they are called."""
    calls: dict[str, _Call | None] = {}

    def note(name: str, layer: Any, arguments: Any, options: Any, output: Any) -> None:
        before = _first(layer.get_base_layer()(*arguments, **options))
        # Copies, since what comes later may change tensors in place.
        inputs = copy.deepcopy((arguments, options))
        calls[name] = _Call(inputs, _first(output).clone(), before.clone())

    for name, layer in trunk.named_modules():
        if hasattr(layer, "get_base_layer") and ".base_layer." not in name:
            calls[name] = None
            layer.register_forward_hook(partial(note, name), with_kwargs=True)
    return calls


def _first(output: Any) -> Tensor:
    """A layer's output, or the first of its outputs."""
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found


def _put_on(trunk: nn.Module, adapter: Any) -> Any:
    """Put an adapter on a trunk, in place; peft's wrapper of it."""
    from peft import get_peft_model

    kind, owner = type(adapter).__name__, type(trunk).__name__
    there = f"its linear layers and convolutions are {', '.join(_endings(trunk)) or 'none'}"
    if not hasattr(adapter, "target_modules"):
        raise ValueError(
            f"{kind} adapts no layers, so that nothing of it could be merged into the weights of "
            f"{owner}: take LoraConfig"
        )
    wanted = adapter.target_modules
    if wanted is None:
        adapter.target_modules = adapter_layers(trunk)
    elif not isinstance(wanted, str):
        names = [f".{name}" for name, _ in trunk.named_modules()]
        missing = [part for part in wanted if not any(n.endswith(f".{part}") for n in names)]
        if missing:
            raise ValueError(f"{kind}: {owner} has no layer {some_of(map(repr, missing))}; {there}")
    try:
        return get_peft_model(trunk, adapter)
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{kind} on {owner}: {reason}; {there}") from error


def _adaptable(trunk: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linear layers, convolutions and torch's attention, whose own layers are left out."""
    inside: tuple[str, ...] = ()
    for name, module in trunk.named_modules():
        if name and not name.startswith(inside):
            if isinstance(module, nn.MultiheadAttention):
                inside += (f"{name}.",)
                yield name, module
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                yield name, module


def _is_of_attention(name: str, layer: nn.Module) -> bool:
    is_named_so = any(part in name.lower() for part in _ATTENTION)
    return isinstance(layer, nn.MultiheadAttention) or is_named_so


def _can_be_merged(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d):
        return True
    is_dense = layer.groups == 1 and layer.dilation == (1, 1)
    return type(layer) is nn.Conv2d and is_dense and layer.padding_mode == "zeros"


def _endings(trunk: nn.Module) -> list[str]:
    """The layers that there are, as ``target_modules`` may name them."""
    endings: dict[str, None] = {}
    for name, _ in _adaptable(trunk):
        parts = name.split(".")
        named = [place for place, part in enumerate(parts) if not part.isdigit()]
        endings[".".join(parts[named[-1] if named else 0 :])] = None
    return list(endings)
