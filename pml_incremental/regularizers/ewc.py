"""Elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pml_incremental.functional.checks import widen
from pml_incremental.regularizers.parameter_regularizer import (
    Models,
    ParameterRegularizer,
    grown,
    named_parameters,
)


class EWC(ParameterRegularizer):
    r"""Elastic weight consolidation: one quadratic penalty for each task learned.

    .. math:: P(\theta) = \frac12 \sum_t \sum_k F_{t,k} \, (\theta_k - \theta^*_{t,k})^2, \quad
              F_{t,k} = \frac1B \sum_b \left(\frac{\partial L_b}{\partial \theta_k}\right)^2

    with F the diagonal of the empirical Fisher information of the loss at the end of task t and B
    the number of batches. A metric loss has no value for a single image, so the gradient is squared
    for each batch; pass batches of one image where the loss has one. Memory does not grow with the
    tasks: a sum of quadratics is a quadratic, so the sum of the Fishers, their weighted mean anchor
    and a constant for each parameter tensor give the same value.

    Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 114,
    2017, equation 3; one penalty for each task as there, summed as in Huszar, "Note on the
    quadratic penalties in elastic weight consolidation", PNAS 115, 2018, without its correction.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> ewc = EWC()
        >>> ewc.penalty(model).item()
        0.0
        >>> ewc.consolidate(model, torch.ones(3, 1, 2), lambda batch: model(batch).square().mean())
        >>> (100 * ewc.penalty(model)).backward()
        >>> model.weight.grad
        tensor([[0., 0.]])
    """

    factor = 0.5
    _families = (("importance", "anchor", "offset"),)

    def _remember(self, models: Models, measured: Mapping[str, Tensor]) -> None:
        sums = {
            name: self._add_quadratic(name, measured[name], widen(parameter.detach()))
            for name, parameter in named_parameters(models).items()
        }
        for name, (importance, anchor, offset) in sums.items():
            self._state["importance"][name] = importance
            self._state["anchor"][name] = anchor
            self._state["offset"][name] = offset

    def _term(self, name: str, current: Tensor) -> Tensor:
        return super()._term(name, current) + self._state["offset"][name]

    def _add_quadratic(
        self, name: str, fisher: Tensor, current: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Importance, anchor and offset of the sum of the old quadratic and the new one."""
        before = grown(name, self._state["importance"].get(name), fisher)
        anchor = grown(name, self._state["anchor"].get(name), fisher)
        total = before + fisher
        # What never mattered is anchored anywhere; here, so that it stays finite.
        share = torch.where(total > 0, fisher / total, 1)
        moved = current - anchor
        constant = (before * share * moved.square()).sum()
        offset = grown(name, self._state["offset"].get(name), constant) + constant
        return total, anchor + share * moved, offset


class OnlineEWC(ParameterRegularizer):
    r"""Elastic weight consolidation around the latest model only, forgetting old importances.

    .. math:: P(\theta) = \frac12 \sum_k \tilde F_{t,k} \, (\theta_k - \theta^*_{t,k})^2, \quad
              \tilde F_t = \gamma \tilde F_{t-1} + F_t

    with F as in :class:`EWC`, one squared gradient for each batch.

    Source: Schwarz et al., "Progress & Compress: A scalable framework for continual learning",
    ICML 2018, section 4. The paper's penalty has another factor gamma, constant and so left to the
    weight of the loss.

    Args:
        decay: gamma, from 0 (only the last task counts) to 1 (all tasks count alike).

    Raises:
        ValueError: if decay is outside [0, 1].

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> ewc = OnlineEWC(decay=0.9)
        >>> ewc.consolidate(model, torch.ones(3, 1, 2), lambda batch: model(batch).square().mean())
        >>> ewc.penalty(model).item()
        0.0
    """

    factor = 0.5

    def __init__(self, decay: float = 0.95) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        super().__init__()
        self.decay = decay
