"""Estimation by the mean and the spread of the drift."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.estimators._moments import Spread
from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.registry import register_estimator


@register_estimator("DriftEstimator")
class DriftEstimator(FeatureEstimator):
    r"""Prior models' embeddings as the current ones plus normally distributed drift.

    .. math:: \hat f_k = f + \mu_k + s \, \sigma_k \odot \epsilon, \qquad \epsilon \sim N(0, 1)

    with :math:`\mu_k` and :math:`\sigma_k` the mean and the standard deviation of
    :math:`f_k - f` in each dimension over the observed images, all embeddings scaled to length 1:
    retrieval compares directions, and a change of length common to all images is no drift. Where
    f_k is itself an estimate, the drifts before and after it and both their spreads combine. Two
    float32 vectors are kept for each prior model.

    Source: the mean follows semantic drift compensation (Yu et al., CVPR 2020), with one mean for
    all images instead of one for each class; the spread is ours.

    Args:
        scale: s, multiplies the spread; 0 leaves the mean only.

    Raises:
        ValueError: if scale is negative or not finite.

    Example:
        >>> estimator = DriftEstimator()
        >>> current = torch.randn(64, 4)
        >>> estimator.observe(current + 0.1 * torch.randn(64, 4), current)
        >>> estimator.fit()
        >>> estimator.estimate(current).shape
        torch.Size([1, 64, 4])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if not (scale >= 0 and math.isfinite(scale)):
            raise ValueError(f"scale must be a finite number, at least 0, got {scale}")
        self.scale = scale
        self._drift: Spread | None = None

    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Add the batch to the sums."""
        embeddings = current[:, : prior.shape[2]].double()
        drift = F.normalize(prior.double(), dim=2) - F.normalize(embeddings, dim=1)
        if self._drift is None:
            self._drift = Spread.of_nothing(drift)
        self._drift.add(drift)

    def solve(self) -> dict[str, Tensor]:
        """Mean and standard deviation, each (K, d)."""
        drift, self._drift = self._drift, None
        assert drift is not None
        return {"mean": drift.mean.float(), "deviation": drift.deviation.float()}

    def predict(
        self, features: Tensor, state: dict[str, Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """Add the mean and a random deviation."""
        mean, deviation = state["mean"].unsqueeze(1), state["deviation"].unsqueeze(1)
        estimate = F.normalize(features[:, : mean.shape[-1]], dim=1) + mean
        if self.scale == 0:
            return estimate
        noise = torch.randn(
            estimate.shape, dtype=estimate.dtype, device=estimate.device, generator=generator
        )
        return estimate.addcmul_(noise, deviation, value=self.scale)
