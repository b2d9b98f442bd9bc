"""What importance-weighted quadratic penalties on parameters have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from pml_incremental.functional.checks import widen
from pml_incremental.models.modes import evaluation_mode

Models: TypeAlias = nn.Module | Mapping[str, nn.Module]

Batch = TypeVar("Batch")

State: TypeAlias = dict[str, dict[str, Tensor]]
Families: TypeAlias = Iterable[tuple[str, ...]]


class ParameterRegularizer:
    r"""Holds parameters near what earlier tasks left, each as much as it mattered to them.

    .. math:: P(\theta) = c \sum_k \Omega_k \, (\theta_k - \theta^*_k)^2

    with importances :math:`\Omega \ge 0` and anchors :math:`\theta^*` that :meth:`consolidate`
    measures at the end of each task, and c fixed by each subclass as in its paper. The strength
    lambda is left to the weight of the loss. Frozen parameters are skipped. A parameter that grew
    since (a classifier with new classes) is compared in its leading block, the old rows; a
    parameter that is new is free. Keep one object for all tasks.
    """

    #: c above.
    factor: ClassVar[float] = 1.0
    #: What ``forward`` of :meth:`consolidate` returns for a batch: the task's loss, the model's
    #: output, or nothing, where the importance is gathered during training.
    importance_from: ClassVar[Literal["loss", "output", "steps"]] = "loss"
    #: How much the importances of earlier tasks still count.
    decay: float = 1.0
    #: Groups of tensors by parameter name; those of one family hold the same names.
    _families: ClassVar[tuple[tuple[str, ...], ...]] = (("importance", "anchor"),)

    def __init__(self) -> None:
        self._state: State = {group: {} for family in self._families for group in family}

    def consolidate(
        self, models: Models, batches: Iterable[Any], forward: Callable[[Any], Tensor]
    ) -> None:
        """Measure importances and anchors of the task just learned, in one pass over its batches.

        Runs in evaluation mode and leaves the gradients in ``.grad`` alone.

        Args:
            models: the trained model, or models by name; frozen parameters are skipped.
            batches: the task's training batches, in any form that ``forward`` takes.
            forward: computed with ``models``, as ``importance_from`` says: the task's loss on a
                batch, a scalar; or the output for it, shape (N, d), before any normalisation to
                length 1.

        Raises:
            ValueError: if there are no batches or no trainable parameters, a loss is not a finite
                scalar with a gradient, or an output is not finite, has no gradient or another
                shape, or all outputs have the same length, so that nothing depends on it. Nothing
                is changed then.
        """
        self._remember(models, self._measure(models, batches, forward))

    def _measure(
        self, models: Models, batches: Iterable[Any], forward: Callable[[Any], Tensor]
    ) -> dict[str, Tensor]:
        """The empirical Fisher information: mean squared gradients of the loss."""
        name = type(self).__name__
        return mean_gradient_magnitudes(name, models, batches, forward, torch.square)

    def penalty(self, models: Models) -> Tensor:
        """The penalty for the current parameters.

        Args:
            models: the model or models that were passed to ``consolidate``, as they are now.

        Returns:
            A scalar, at least 0, with gradients for the parameters. 0 before the first task's end.

        Raises:
            ValueError: if a parameter that was consolidated is missing or has shrunk.
        """
        parameters = named_parameters(models, trainable_only=False)
        terms = [
            self._term(name, leading_block(name, parameters, importance.shape))
            for name, importance in self._state["importance"].items()
        ]
        if not terms:
            device = next((parameter.device for parameter in parameters.values()), None)
            return torch.zeros((), device=device)
        return torch.stack(terms).sum() * self.factor

    def state_dict(self) -> dict[str, Tensor]:
        """All that must survive between tasks, as plain tensors named ``group/parameter``."""
        return to_flat(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave; nothing changes if it does not fit.

        Args:
            state: tensors named ``group/parameter``.

        Raises:
            ValueError: if a name is not one of this class's, or a parameter has an importance and
                no anchor of the same shape, or the reverse.
        """
        self._state = from_flat(type(self).__name__, self._families, state)

    def _term(self, name: str, current: Tensor) -> Tensor:
        for group in self._state.values():
            if name in group:
                group[name] = group[name].to(current.device)
        importance, anchor = self._state["importance"][name], self._state["anchor"][name]
        return (importance * (current - anchor).square()).sum()

    def _remember(self, models: Models, measured: Mapping[str, Tensor]) -> None:
        """Add the importances of a task to the decayed ones before it and anchor at its end."""
        parameters = named_parameters(models)
        importances, anchors = {}, {}
        for name, new in measured.items():
            before = grown(name, self._state["importance"].get(name), new)
            importances[name] = self.decay * before + new
            anchors[name] = leading_block(name, parameters, new.shape).detach().clone()
        self._state["importance"].update(importances)
        self._state["anchor"].update(anchors)


def to_flat(state: State) -> dict[str, Tensor]:
    """Copies of all tensors, named ``group/parameter``."""
    return {
        f"{group}/{name}": tensor.detach().clone()
        for group, tensors in state.items()
        for name, tensor in tensors.items()
    }


def from_flat(owner: str, families: Families, flat: Mapping[str, Tensor]) -> State:
    """Copies of all tensors by group, or an error if they are not what ``owner`` saves."""
    state: State = {group: {} for family in families for group in family}
    for key, tensor in flat.items():
        group, _, name = key.partition("/")
        if group not in state or not name:
            expected = " or ".join(f"{group}/" for group in state)
            raise ValueError(
                f"{owner} cannot load {key!r}: its names begin with {expected}; was it saved by "
                "another regulariser?"
            )
        state[group][name] = tensor.detach().clone()
    for family in families:
        _check_family(owner, family, state)
    return state


def _check_family(owner: str, family: tuple[str, ...], state: State) -> None:
    for name in sorted({name for group in family for name in state[group]}):
        missing = [f"{group}/{name}" for group in family if name not in state[group]]
        if missing:
            raise ValueError(
                f"{owner} cannot load its state: {', '.join(missing)} is missing beside the other "
                "tensors of that parameter"
            )
        shapes = {state[group][name].shape for group in family} - {torch.Size()}
        if len(shapes) > 1:
            raise ValueError(
                f"{owner} cannot load its state: {' and '.join(family)} of {name!r} differ in "
                f"shape: {' and '.join(str(tuple(shape)) for shape in sorted(shapes))}"
            )


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
