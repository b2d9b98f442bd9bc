"""Means and covariances of a stream, in float64.

Batches are merged as centred sums (Chan et al., 1979), so that nothing cancels where means are
large.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Spread:
    """Mean and standard deviation of each of d dimensions, for K kinds of rows."""

    rows: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of_nothing(cls, x: Tensor) -> Spread:
        """Of no rows, for x like (K, N, d)."""
        models, _, width = x.shape
        return cls(rows=0, mean=x.new_zeros(models, width), squares=x.new_zeros(models, width))

    def add(self, x: Tensor) -> None:
        """Take in a batch, shape (K, N, d)."""
        mean = x.mean(dim=1)
        shift = mean - self.mean
        total = self.rows + x.shape[1]
        share = x.shape[1] / total
        self.squares += (x - mean.unsqueeze(1)).square().sum(dim=1)
        self.squares += share * self.rows * shift.square()
        self.mean += share * shift
        self.rows = total

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, shape (K, d)."""
        return (self.squares / self.rows).sqrt()


@dataclass
class Moments:
    """What regression needs to know of all (x, y) so far; y stands for K targets."""

    rows: int
    mean: Tensor
    target_mean: Tensor
    scatter: Tensor
    cross_scatter: Tensor

    @classmethod
    def of_nothing(cls, x: Tensor, y: Tensor) -> Moments:
        """Moments of no rows, for x like (N, D) and y like (K, N, d)."""
        features, (models, _, width) = x.shape[1], y.shape
        return cls(
            rows=0,
            mean=x.new_zeros(features),
            target_mean=y.new_zeros(models, width),
            scatter=x.new_zeros(features, features),
            cross_scatter=y.new_zeros(models, features, width),
        )

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in a batch: x (N, D), y (K, N, d)."""
        mean, target_mean = x.mean(dim=0), y.mean(dim=1)
        x, y = x - mean, y - target_mean.unsqueeze(1)
        shift, target_shift = mean - self.mean, target_mean - self.target_mean
        total = self.rows + len(x)
        share = len(x) / total
        between = share * self.rows
        self.scatter.addmm_(x.T, x).addr_(shift, shift, alpha=between)
        self.cross_scatter += x.T @ y + between * shift[:, None] * target_shift[:, None, :]
        self.mean += share * shift
        self.target_mean += share * target_shift
        self.rows = total

    @property
    def covariance(self) -> Tensor:
        """Of x with itself, shape (D, D)."""
        return self.scatter / self.rows

    @property
    def cross_covariance(self) -> Tensor:
        """Of x with y, shape (K, D, d)."""
        return self.cross_scatter / self.rows
