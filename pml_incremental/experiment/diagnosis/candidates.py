"""What could be used in place of prior models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.report.estimation_error_plot import TEACHER_ITSELF


@dataclass(frozen=True)
class Candidate:
    """Something that estimates all prior models.

    Attributes:
        name: of the estimator.
        observed_on: the images that it has learned from, ``"finished"`` or ``"new"``; empty if it
            learns nothing.
        estimate: features of the teacher (N, D) to estimates (K, N, d), oldest model first.
        sees_trunk: whether the features are the embeddings followed by the trunk's output.
        nbytes: what is stored for all prior models.
    """

    name: str
    observed_on: str
    estimate: Callable[[Tensor], Tensor]
    sees_trunk: bool
    nbytes: int

    @classmethod
    def of_bank(cls, name: str, observed_on: str, bank: EstimatorBank) -> Candidate:
        """A bank of estimators, as it is now."""
        sees_trunk = bank.embedding_width is not None
        return cls(name, observed_on, bank.estimate, sees_trunk, bank.nbytes)

    @classmethod
    def of_teacher(cls, models: int) -> Candidate:
        """The teacher in place of each of so many prior models.

        Example:
            >>> import torch
            >>> Candidate.of_teacher(2).estimate(torch.ones(3, 4)).shape
            torch.Size([2, 3, 4])
        """
        return cls(TEACHER_ITSELF, "", lambda features: features.expand(models, -1, -1), False, 0)
