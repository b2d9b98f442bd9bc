"""Estimation by ridge regression."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.estimators._moments import Moments
from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.registry import register_estimator


@register_estimator("LinearEstimator")
class LinearEstimator(FeatureEstimator):
    r"""Prior models' embeddings as affine maps of the current features.

    .. math:: \hat f_k = f + B_k x + b_k, \qquad
        B_k, b_k = \arg\min \sum_i \|f_{k,i} - f_i - B x_i - b\|^2 +
        \lambda n \sum_j \operatorname{var}(x_j) \|B_{\cdot j}\|^2

    with x the current features and f the embedding they start with. What is learned is the change
    from f, so that the less the images tell, the nearer the estimate stays to f. The penalty is
    relative to each feature's variance: scaling features changes nothing. Only sums over images
    are kept while observing, in float64, and the solution is exact.

    When f_k is the estimate of a model gone before, the regression of :math:`A_k g` on f is
    A_k times the regression of g on f: maps are composed over tasks, without loss at full rank
    as the ridge goes to 0.

    Of two embeddings of width 512, 1 MB is kept for each prior model; with ``rank=64``, 264 KB.

    Source: the map is the learnable drift compensation of Gomez-Villa et al., ECCV 2024, with the
    closed form in place of gradient descent. The rank is cut as in reduced-rank regression
    (Izenman, 1975): to the map of that rank nearest in its predictions, not in its entries.

    Args:
        ridge: lambda > 0. From 0.03 to 0.3 were best in our trials: less for embeddings alone, more
            where a trunk's features beside them outnumber the images.
        rank: largest rank of B; None for no limit.

    Raises:
        ValueError: if ridge is not positive and finite or rank is below 1.

    Example:
        >>> current = torch.randn(64, 4)
        >>> estimator = LinearEstimator(ridge=1e-6)
        >>> estimator.observe(3 * current + 1, current)
        >>> estimator.fit()
        >>> torch.allclose(estimator.estimate(current)[0], 3 * current + 1, atol=1e-3)
        True
    """

    is_random = False

    def __init__(self, ridge: float = 0.1, rank: int | None = None) -> None:
        super().__init__()
        if not 0 < ridge < math.inf:
            raise ValueError(f"ridge must be positive and finite, got {ridge}")
        if rank is not None and (not isinstance(rank, int) or rank < 1):
            raise ValueError(f"rank must be None or an integer of at least 1, got {rank!r}")
        self.ridge = ridge
        self.rank = rank
        self._moments: Moments | None = None

    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Add the batch to the sums."""
        change = prior.double() - current[:, : prior.shape[2]].double()
        if self._moments is None:
            self._moments = Moments.of_nothing(current.double(), change)
        self._moments.add(current.double(), change)

    def solve(self) -> dict[str, Tensor]:
        """``bias`` (K, d), and ``weight`` (K, d, D) or its factors (K, d, r) and (K, r, D)."""
        moments, self._moments = self._moments, None
        assert moments is not None
        weight = ridge_regression(moments.covariance, moments.cross_covariance, self.ridge)
        maps = {"weight": weight}
        if self.rank is not None and self.rank < min(weight.shape[1:]):
            left, right = reduce_rank(weight, moments.covariance, self.rank)
            maps, weight = {"left": left, "right": right}, left @ right
        maps["bias"] = moments.target_mean - weight @ moments.mean
        return {name: tensor.float().contiguous() for name, tensor in maps.items()}

    def predict(
        self,
        features: Tensor,
        state: dict[str, Tensor],
        generator: torch.Generator | None,  # noqa: ARG002
    ) -> Tensor:
        """Apply all maps in one matrix product, or in two if they are factored."""
        bias = state["bias"]
        embeddings = features[:, : bias.shape[1]]
        if "weight" in state:
            change = _apply(state["weight"], features) + bias.unsqueeze(1)
        else:
            inner = _apply(state["right"], features)
            change = torch.baddbmm(bias.unsqueeze(1), inner, state["left"].mT)
        return change.add_(embeddings)


def _apply(maps: Tensor, features: Tensor) -> Tensor:
    """Every map (K, m, D) on all features (N, D), shape (K, N, m)."""
    stacked = F.linear(features, maps.flatten(0, 1))
    per_map: Tensor = stacked.unflatten(1, maps.shape[:2])
    return per_map.transpose(0, 1)


def ridge_regression(covariance: Tensor, cross_covariance: Tensor, ridge: float) -> Tensor:
    """Weights of K regressions on the same features, penalised relative to feature variances."""
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    # A feature that never changes has nothing to tell; what is left of it is rounding.
    alive = deviation > deviation.max() * 1e-7
    inverse = torch.where(alive, 1 / deviation, 0)
    correlation = inverse[:, None] * covariance * inverse
    correlation.diagonal().add_(ridge)
    models, features, width = cross_covariance.shape
    targets = (inverse[:, None] * cross_covariance).transpose(0, 1).reshape(features, -1)
    weights: Tensor = inverse[:, None] * torch.linalg.solve(correlation, targets)
    return weights.reshape(features, models, width).permute(1, 2, 0)


def reduce_rank(weights: Tensor, covariance: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The factors of the maps of lower rank that predict most nearly the same."""
    predicted = weights @ covariance @ weights.mT
    directions = torch.linalg.eigh(predicted).eigenvectors[:, :, -rank:]
    return directions, directions.mT @ weights
