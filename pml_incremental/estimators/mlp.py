"""Estimation by a small residual network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.registry import register_estimator

_LAYERS = ("weight_in", "bias_in", "weight_out", "bias_out")


@register_estimator("MLPEstimator")
class MLPEstimator(FeatureEstimator):
    r"""Prior models' embeddings as the current ones plus what a small network adds.

    .. math:: \hat f_k = f + V_k \max(0, U_k x + a_k) + b_k

    with x the current features and f the embedding they start with. The networks are trained by
    Adam on the squared error, a few steps on each observed batch; what is kept is the moving
    average of their weights. The result depends on the batches, their order and the seed, and on
    nothing else. More batches (augmented views, several passes) make it better.

    When a task ends the network of an older model is trained anew, on the old network's estimates:
    a chain of networks would grow with each task and could not be run in one operation.

    Of two embeddings of width 512, 1 MB is kept for each prior model.

    Source: after learnable drift compensation (Gomez-Villa et al., ECCV 2024), which learns a
    linear map by Adam in 20 epochs. The hidden layer, the residual form, the averaging and the
    single pass are ours.

    Args:
        hidden: width of the hidden layer.
        steps: gradient steps on each batch.
        lr: Adam's learning rate, on standardised features.
        averaging: weight of the past in the moving average, for each step.
        seed: for the initial weights.

    Raises:
        ValueError: if a number is out of range; in ``fit``, if the training has diverged.

    Example:
        >>> current = torch.rand(64, 4)
        >>> estimator = MLPEstimator(hidden=8)
        >>> estimator.observe(current.square(), current)
        >>> estimator.fit()
        >>> estimator.estimate(current).shape
        torch.Size([1, 64, 4])
    """

    is_random = False

    def __init__(
        self,
        hidden: int = 256,
        steps: int = 20,
        lr: float = 1e-3,
        averaging: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, count in (("hidden", hidden), ("steps", steps)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")
        if not 0 < lr < float("inf"):
            raise ValueError(f"lr must be positive and finite, got {lr}")
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging must be at least 0 and below 1, got {averaging}")
        self.hidden = hidden
        self.steps = steps
        self.lr = lr
        self.averaging = averaging
        self.seed = seed
        self._training: ResidualNetworks | None = None

    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Train on the batch."""
        with torch.inference_mode(False), torch.enable_grad():
            x = current.float().clone()
            y = prior.float() - x[:, : prior.shape[2]]
            if self._training is None:
                self._training = ResidualNetworks(
                    x, y, self.hidden, self.lr, self.averaging, self.seed
                )
            self._training.train(x, y, self.steps)

    def solve(self) -> dict[str, Tensor]:
        """Both layers: (K, h, D), (K, h), (K, d, h), (K, d)."""
        training, self._training = self._training, None
        assert training is not None
        network = dict(zip(_LAYERS, training.plain(), strict=True))
        if not all(tensor.isfinite().all() for tensor in network.values()):
            raise ValueError(f"the networks have diverged: lower lr (now {self.lr})")
        return network

    def predict(
        self,
        features: Tensor,
        state: dict[str, Tensor],
        generator: torch.Generator | None,  # noqa: ARG002
    ) -> Tensor:
        """Run all networks."""
        change = residual(features, [state[name] for name in _LAYERS])
        return change.add_(features[:, : change.shape[2]])


def residual(x: Tensor, network: Sequence[Tensor]) -> Tensor:
    """One hidden layer with ReLU, for K networks on the same rows."""
    weight_in, bias_in, weight_out, bias_out = network
    hidden = F.linear(x, weight_in.flatten(0, 1), bias_in.flatten()).relu()
    hidden = hidden.unflatten(1, bias_in.shape).transpose(0, 1)
    return torch.baddbmm(bias_out.unsqueeze(1), hidden, weight_out.mT)


class ResidualNetworks:
    """Training of :func:`residual` by Adam, with averaged weights.

    Inputs and targets are standardised by the first batch. The last layer starts at zero: an
    untrained network adds the mean change of the first batch and nothing else. As every batch is
    seen once, the weights swing with it; their moving average does not.
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
