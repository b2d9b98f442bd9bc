"""Small networks trained on a stream, one for each prior model, all in the same operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def residual(x: Tensor, network: Sequence[Tensor]) -> Tensor:
    """One hidden layer with ReLU, for K networks on the same rows.

    Args:
        x: shape (N, D).
        network: weights and biases of both layers, (K, h, D), (K, h), (K, d, h), (K, d).

    Returns:
        Shape (K, N, d).
    """
    weight_in, bias_in, weight_out, bias_out = network
    hidden = F.linear(x, weight_in.flatten(0, 1), bias_in.flatten()).relu()
    hidden = hidden.unflatten(1, bias_in.shape).transpose(0, 1)
    return torch.baddbmm(bias_out.unsqueeze(1), hidden, weight_out.mT)


class ResidualNetworks:
    """Training of :func:`residual` by Adam, with averaged weights.

    Inputs and targets are standardised by the first batch. The last layer starts at zero: an
    untrained network adds the mean change of the first batch and nothing else. As every batch is
    seen once, the weights swing with it; their moving average does not.

    Args:
        x: features of the first batch, shape (N, D).
        y: changes to predict, shape (K, N, d).
        hidden: width h of the hidden layer.
        lr: Adam's learning rate.
        averaging: weight of the past in the moving average.
        seed: for the first layer's initial weights.
    """

    def __init__(
        self, x: Tensor, y: Tensor, hidden: int, lr: float, averaging: float, seed: int
    ) -> None:
        models, _, width = y.shape
        self.x_mean, self.y_mean = x.mean(dim=0), y.mean(dim=1, keepdim=True)
        deviation = x.std(dim=0, correction=0)
        self.x_scale = _positive(deviation.clamp_min(0.01 * deviation.mean()))
        self.y_scale = _positive((y - self.y_mean).square().mean(dim=(1, 2), keepdim=True).sqrt())
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(models, hidden, x.shape[1], generator=generator).to(x)
        self.network = [
            (first * (2 / x.shape[1]) ** 0.5).requires_grad_(),
            x.new_zeros(models, hidden).requires_grad_(),
            x.new_zeros(models, width, hidden).requires_grad_(),
            x.new_zeros(models, width).requires_grad_(),
        ]
        self.average = [tensor.detach().clone() for tensor in self.network]
        self.optimizer = torch.optim.Adam(self.network, lr=lr)
        self.averaging = averaging
        self.steps = 0

    def train(self, x: Tensor, y: Tensor, steps: int) -> None:
        """Gradient steps on one batch."""
        x, y = (x - self.x_mean) / self.x_scale, (y - self.y_mean) / self.y_scale
        for _ in range(steps):
            self.optimizer.zero_grad()
            # The sum over models leaves their gradients independent of each other.
            (residual(x, self.network) - y).square().mean(dim=(1, 2)).sum().backward()
            self.optimizer.step()
            self.steps += 1
            weight = max(1 - self.averaging, 1 / self.steps)
            for average, tensor in zip(self.average, self.network, strict=True):
                average.lerp_(tensor.detach(), weight)

    def plain(self) -> list[Tensor]:
        """The averaged networks, with the standardisation folded into their layers."""
        weight_in, bias_in, weight_out, bias_out = self.average
        weight_in = weight_in / self.x_scale
        return [
            weight_in,
            bias_in - weight_in @ self.x_mean,
            weight_out * self.y_scale,
            bias_out * self.y_scale.squeeze(2) + self.y_mean.squeeze(1),
        ]


def _positive(scale: Tensor) -> Tensor:
    """What does not vary is left as it is."""
    return torch.where(scale > 0, scale, 1)
