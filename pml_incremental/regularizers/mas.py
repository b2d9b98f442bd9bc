"""Memory aware synapses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional.checks import widen
from pml_incremental.regularizers.parameter_regularizer import (
    Models,
    ParameterRegularizer,
    mean_gradient_magnitudes,
)


class MAS(ParameterRegularizer):
    r"""Memory aware synapses: a parameter matters as much as the output's size depends on it.

    .. math:: P(\theta) = \sum_k \Omega_k \, (\theta_k - \theta^*_k)^2, \quad
              \Omega_k = \sum_t \frac1B \sum_b \left\lvert \frac{\partial}{\partial \theta_k}
              \frac{1}{N_b} \sum_{i \in b} \lVert f(x_i) \rVert_2^2 \right\rvert

    over the B batches of task t. Needs no labels and no loss. The absolute value is taken for each
    batch, as is usual for speed; batches of one image give the paper's mean over images. Anchored
    at the latest model.

    Source: Aljundi et al., "Memory Aware Synapses: Learning what (not) to forget", ECCV 2018,
    sections 4.1 and 4.2.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> mas = MAS()
        >>> mas.consolidate(model, torch.rand(3, 4, 2), model)
        >>> mas.penalty(model).item()
        0.0
    """

    importance_from = "output"

    def _measure(
        self, models: Models, batches: Iterable[Any], forward: Callable[[Any], Tensor]
    ) -> dict[str, Tensor]:
        shortest, longest = float("inf"), 0.0

        def mean_squared_norm(batch: Any) -> Tensor:
            nonlocal shortest, longest
            output = forward(batch)
            if output.ndim != 2 or len(output) == 0:
                raise ValueError(
                    f"MAS needs outputs of shape (N, d) for each batch, got {tuple(output.shape)}"
                )
            squared_norms = widen(output).square().sum(dim=1)
            shortest = min(shortest, squared_norms.min().item())
            longest = max(longest, squared_norms.max().item())
            return squared_norms.mean()

        measured = mean_gradient_magnitudes("MAS", models, batches, mean_squared_norm, torch.abs)
        if longest - shortest <= 1e-4 * longest:
            raise ValueError(
                "MAS measures how the length of the output depends on the parameters, and all "
                f"outputs have length {longest**0.5:.4g}: pass the output before normalisation"
            )
        return measured
