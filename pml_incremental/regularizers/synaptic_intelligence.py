"""Synaptic intelligence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional.checks import widen
from pml_incremental.regularizers.parameter_regularizer import (
    Models,
    ParameterRegularizer,
    leading_block,
    named_parameters,
)


class SynapticIntelligence(ParameterRegularizer):
    r"""A parameter matters as much as its moves during training lowered the loss.

    .. math:: P(\theta) = \sum_k \Omega_k \, (\theta_k - \theta^*_k)^2, \quad
              \Omega_k \leftarrow \max\left(0, \Omega_k +
              \frac{\omega_k}{(\theta_k^{end} - \theta_k^{start})^2 + \xi}\right), \quad
              \omega_k = -\sum_{steps} g_k \, \Delta \theta_k

    with g the gradient of the task's loss, without this penalty's. Call :meth:`before_step` and
    :meth:`after_step` around every optimiser step of every task, the first included. Anchored at
    the latest model.

    Source: Zenke, Poole & Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017,
    equations 3 to 5; importances are kept from falling below 0 as in the authors' code.

    Args:
        damping: xi > 0, squared parameter units; keeps parameters that hardly moved from an
            unbounded importance.

    Raises:
        ValueError: if damping is not positive.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> si, optimizer = SynapticIntelligence(), torch.optim.SGD(model.parameters(), lr=0.1)
        >>> model(torch.ones(1, 2)).square().sum().backward()
        >>> si.before_step(model)
        >>> optimizer.step()
        >>> si.after_step(model)
        >>> si.consolidate(model)
        >>> si.penalty(model).item()
        0.0
    """

    importance_from = "steps"
    _families = (("importance", "anchor"), ("path", "start"))

    def __init__(self, damping: float = 0.1) -> None:
        if not 0 < damping < float("inf"):
            raise ValueError(f"damping must be positive, got {damping}")
        super().__init__()
        self.damping = damping
        self._before: dict[str, tuple[Tensor, Tensor]] | None = None

    def before_step(self, models: Models, penalty_weight: float = 0.0) -> None:
        """Remember parameters and gradients; call between backward and the optimiser's step.

        Args:
            models: the model in training, or models by name.
            penalty_weight: weight with which :meth:`penalty` was part of the loss, so that its
                gradient can be taken out again.
        """
        self._before = {}
        for name, parameter in named_parameters(models).items():
            value = widen(parameter.detach()).clone()
            if name not in self._state["start"]:
                self._state["start"][name] = value
                self._state["path"][name] = torch.zeros_like(value)
            if parameter.grad is not None:
                gradient = widen(parameter.grad.detach()).clone()
                if penalty_weight and name in self._state["importance"]:
                    self._subtract_penalty(name, value, gradient, penalty_weight)
                self._before[name] = value, gradient

    def after_step(self, models: Models) -> None:
        """Add what the step did to the path integrals; call after the optimiser's step.

        Args:
            models: as for :meth:`before_step`.

        Raises:
            RuntimeError: if :meth:`before_step` was not called since the last step.
        """
        if self._before is None:
            raise RuntimeError(
                "SynapticIntelligence.after_step was called without before_step: call before_step "
                "between backward and the optimiser's step"
            )
        parameters = named_parameters(models, trainable_only=False)
        for name, (value, gradient) in self._before.items():
            moved = leading_block(name, parameters, value.shape).detach() - value
            self._state["path"][name] = self._state["path"][name].to(moved) - gradient * moved
        self._before = None

    def consolidate(
        self,
        models: Models,
        batches: Iterable[Any] = (),  # noqa: ARG002
        forward: Callable[[Any], Tensor] | None = None,  # noqa: ARG002
    ) -> None:
        """Turn the task's path integrals into importances and start anew.

        Args:
            models: the trained model, or models by name.
            batches: not used: the importance was gathered during training.
            forward: not used.

        Raises:
            ValueError: if there was no step to gather importance from.
        """
        if not self._state["path"]:
            raise ValueError(
                "SynapticIntelligence saw no training step of this task: call before_step and "
                "after_step around every optimiser step"
            )
        parameters = named_parameters(models)
        measured = {}
        for name, path in self._state["path"].items():
            if name in parameters:
                end = leading_block(name, parameters, path.shape).detach()
                moved = end - self._state["start"][name].to(end)
                measured[name] = path.to(end) / (moved.square() + self.damping)
        self._remember(models, measured)
        for name, importance in self._state["importance"].items():
            self._state["importance"][name] = importance.clamp_min(0)
        self._state["path"], self._state["start"], self._before = {}, {}, None

    def _subtract_penalty(
        self, name: str, value: Tensor, gradient: Tensor, penalty_weight: float
    ) -> None:
        importance, anchor = self._state["importance"][name], self._state["anchor"][name]
        block = tuple(slice(length) for length in importance.shape)
        pull = importance.to(value) * (value[block] - anchor.to(value))
        gradient[block] -= 2 * self.factor * penalty_weight * pull
