"""Online elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pml_incremental.regularizers._importance import mean_gradient_magnitudes
from pml_incremental.regularizers._parameters import Models
from pml_incremental.regularizers.parameter_regularizer import ParameterRegularizer


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
    importance_from: ClassVar[Literal["loss", "output", "steps"]] = "loss"

    def __init__(self, decay: float = 0.95) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        super().__init__()
        self.decay = decay

    def consolidate(
        self, models: Models, batches: Iterable[Any], forward: Callable[[Any], Tensor]
    ) -> None:
        """Add the importances of the task that has just been learned, in one pass.

        Runs in evaluation mode and leaves the gradients in ``.grad`` alone.

        Args:
            models: the trained model, or models by name; frozen parameters are skipped.
            batches: the task's training batches, in any form that ``forward`` takes.
            forward: the task's loss on a batch, a scalar, computed with ``models``.

        Raises:
            ValueError: if there are no batches or no trainable parameters, or the loss of a batch
                is not a finite scalar with a gradient. Nothing is changed then.
        """
        fishers = mean_gradient_magnitudes("OnlineEWC", models, batches, forward, torch.square)
        self._accumulate(models, fishers, self.decay)
