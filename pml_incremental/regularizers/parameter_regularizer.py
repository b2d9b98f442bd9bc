"""What importance-weighted quadratic penalties on parameters have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from pml_incremental.regularizers._importance import (
    Models,
    grown,
    leading_block,
    mean_gradient_magnitudes,
    named_parameters,
)

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
