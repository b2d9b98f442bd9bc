"""Regression from moments."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_regression(covariance: Tensor, cross_covariance: Tensor, ridge: float) -> Tensor:
    """Weights of K regressions on the same features, penalised relative to feature variances.

    Args:
        covariance: of the features, shape (D, D).
        cross_covariance: of features with targets, shape (K, D, d).
        ridge: strength of the penalty on the weights of standardised features.

    Returns:
        Shape (K, d, D).
    """
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
    """The factors of the maps of lower rank that predict most nearly the same.

    Args:
        weights: maps W of K regressions, shape (K, d, D).
        covariance: of the features, shape (D, D).
        rank: r < min(d, D).

    Returns:
        Factors (K, d, r) and (K, r, D); their product minimises the mean squared change of the
        predictions among all maps of rank r.
    """
    predicted = weights @ covariance @ weights.mT
    directions = torch.linalg.eigh(predicted).eigenvectors[:, :, -rank:]
    return directions, directions.mT @ weights
