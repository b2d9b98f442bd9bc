"""The estimator of the paper: random changes within the range of accuracy changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.registry import register_estimator
from pml_incremental.functional.estimation import change_randomly, check_range


@register_estimator("AccuracyChangeEstimator")
class AccuracyChangeEstimator(FeatureEstimator):
    r"""Prior models' embeddings as random changes of the current ones.

    .. math:: \hat f_k = f + s \, r_k \odot f, \qquad r_k \sim U(low_k, high_k)

    The paper calls the range an "accuracy change" and does not say of what. Our reading: low_k and
    high_k are the smallest and the largest change of retrieval accuracy from M_k to the current
    model over the held-out splits of the tasks. They come from outside, through ``set_ranges``
    after each task, or are fixed for all prior models by ``low`` and ``high``. It learns nothing
    from the observed features; 16 bytes are kept for each prior model.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (feature estimation).

    Args:
        low: smallest change, for all prior models; None if ``set_ranges`` gives it.
        high: largest change, likewise.
        scale: s, multiplies the change.

    Raises:
        ValueError: if low is above high or only one of them is given.

    Example:
        >>> estimator = AccuracyChangeEstimator()
        >>> estimator.observe(torch.rand(2, 8, 4), torch.rand(8, 4))
        >>> estimator.fit()
        >>> estimator.set_ranges({1: (-0.04, 0.22), 2: (0.0, 0.1)})
        >>> estimator.estimate(torch.rand(8, 4)).shape
        torch.Size([2, 8, 4])
    """

    def __init__(
        self, low: float | None = None, high: float | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        if (low is None) != (high is None):
            raise ValueError(f"give both low and high or neither, got low={low} and high={high}")
        if low is not None and high is not None:
            check_range(low, high)
        self.low = low
        self.high = high
        self.scale = scale

    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Features say nothing about accuracy."""

    def solve(self) -> dict[str, Tensor]:
        """Ranges (K, 2), NaN where they are still to be set; float64, as they were given."""
        fixed = (float("nan") if limit is None else limit for limit in (self.low, self.high))
        return {"ranges": torch.tensor([*fixed], dtype=torch.float64).repeat(self.sizes.models, 1)}

    @property
    def needs_ranges(self) -> bool:
        """Whether low and high are left to ``set_ranges``."""
        return self.low is None

    def set_ranges(self, ranges: Mapping[int, tuple[float, float]]) -> None:
        """Set how far the accuracy has changed since prior models.

        Args:
            ranges: (low, high) by number of the prior model, 1 for M_1.

        Raises:
            ValueError: if low is above high or there is no such model, naming it.
            TypeError: if low and high are fixed.
            RuntimeError: before ``fit``.
        """
        if not self.needs_ranges:
            super().set_ranges(ranges)
        changed = self._fitted()["ranges"].clone()
        for model, (low, high) in ranges.items():
            if not 1 <= model <= len(changed):
                raise ValueError(
                    f"there is no prior model M_{model}: this estimator stands for "
                    f"{len(changed)}, numbered from 1"
                )
            check_range(low, high, f" of prior model M_{model}")
            changed[model - 1] = torch.tensor([low, high], dtype=torch.float64)
        self._set_state({"ranges": changed})

    def estimate(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """As :meth:`FeatureEstimator.estimate`; every range must be set."""
        unset = self._fitted()["ranges"].isnan().any(dim=1)
        if unset.any():
            names = ", ".join(f"M_{k + 1}" for k in unset.nonzero().flatten().tolist())
            raise RuntimeError(
                f"no accuracy range is set for prior model {names}: call set_ranges after each "
                "task, or give low and high"
            )
        return super().estimate(features, generator)

    def carry_over(
        self,
        features: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The embeddings themselves: only the number of models counts, their ranges will change."""
        return features[:, : self.sizes.width].expand(self.sizes.models, -1, -1)

    def predict(
        self, features: Tensor, state: dict[str, Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """Multiply by 1 + s r."""
        low, high = state["ranges"].T
        embeddings = features[:, : self.sizes.width]
        return change_randomly(embeddings, low, high, self.scale, generator)
