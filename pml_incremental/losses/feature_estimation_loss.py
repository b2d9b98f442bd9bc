"""Correlation distillation from prior models that are gone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pytorch_metric_learning.distances.base_distance import BaseDistance
from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional import similarity_divergence
from pml_incremental.functional.checks import widen
from pml_incremental.functional.chunked_divergence import DEFAULT_MAX_BYTES
from pml_incremental.losses._batch_similarity import chunked_similarity_divergence, similarities_to
from pml_incremental.losses.correlation_distillation_loss import CorrelationDistillationLoss


class FeatureEstimationLoss(CorrelationDistillationLoss):
    r"""Match the similarity matrix to those that prior models are estimated to have.

    .. math:: l_i = \sum_k w_k \tau^2 \,
        KL(softmax(\hat S^k / \tau)_i \,\|\, softmax(S^Z / \tau)_i)

    with :math:`\hat S^k` the similarities of the embeddings that ``bank`` estimates for the prior
    model M_k from the teacher's features, and weights w that add up to 1. The targets get no
    gradient. Labels are accepted and not used, except by the reducer. Call it as
    ``loss(embeddings, labels, ref_emb=teacher_embeddings_and_trunk_output)``.

    While the bank is empty, as in the first two tasks, the loss is inactive: zero, with zero
    gradient. In PML's DistributedLossWrapper every process gathers the batch with its own part
    first, so where estimates are random the processes draw different numbers for an image; the
    gradient then equals that of one process on average.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (feature estimation; the
    paper adds the terms, each weighed 10 with tau = 4, where this is their mean). Weights that
    differ are ours.

    Args:
        bank: estimators of the prior models; not part of the loss's state. Default: an empty one,
            to be replaced by setting ``loss.bank``.
        temperature: tau > 0; larger values weigh all pairs more equally.
        model_weights: how much each prior model counts: ``"uniform"``; ``"recency"``, in inverse
            proportion to the age, 1 for the model before the teacher; or a number for each age,
            youngest first, at least as many as there are models. They are scaled to sum 1.
        distance: a PML distance; one that is not a similarity is negated. Default: dot product of
            L2-normalised embeddings.
        max_bytes: how much memory the similarity matrices of all prior models may take, about, as
            in :class:`CorrelationDistillationLoss`. The default, 256 MiB, is reached with 10 prior
            models at a batch of 916 in float32.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per anchor, shape (N,).

    Raises:
        ValueError: if temperature or max_bytes is not positive or model_weights none of the above;
            when called, if ``ref_emb`` is missing, is ``embeddings`` itself or has another length
            or a width that the bank does not know, if N is 0, or if the distance of a batch beyond
            max_bytes has a ``forward`` of its own.

    Example:
        >>> bank = EstimatorBank("LinearEstimator")
        >>> bank.update([(torch.randn(64, 16), torch.randn(64, 16))])
        >>> loss = FeatureEstimationLoss(bank)
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self,
        bank: EstimatorBank | None = None,
        temperature: float = 4.0,
        model_weights: Literal["uniform", "recency"] | Sequence[float] = "uniform",
        distance: BaseDistance | None = None,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        _check_model_weights(model_weights)
        super().__init__(
            temperature, target="teacher", distance=distance, max_bytes=max_bytes, **kwargs
        )
        self.bank = EstimatorBank() if bank is None else bank
        self.model_weights = model_weights

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per anchor, shape (N,)."""
        with torch.autocast(student.device.type, enabled=False):
            if len(self.bank) == 0:
                return 0 * widen(student).sum(dim=1)
            divergences = self.divergences(student, self.prior_embeddings(teacher))
            # A tensor made of a list is copied to a GPU, which the host has to wait for.
            weights = _oldest_first(self.model_weights, len(self.bank))
            on_device = torch.stack([divergences.new_full((), weight) for weight in weights])
            return on_device @ divergences

    def divergences(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """The student's from each prior model with embeddings ``targets``, shape (K, N)."""
        rows = self.rows_at_a_time(embeddings, models=len(targets))
        if rows is not None:
            return chunked_similarity_divergence(
                self.distance, self.normalized(embeddings), targets, self.temperature, rows
            )
        similarities = torch.vmap(lambda prior: similarities_to(self.distance, prior, prior))
        target = similarities(targets)
        student = self.similarities(embeddings).expand_as(target)
        return similarity_divergence(student, target, self.temperature)

    @torch.no_grad()
    def prior_embeddings(self, teacher: Tensor) -> Tensor:
        """What the prior models are estimated to embed, normalised, shape (K, N, d)."""
        estimates = self.bank.estimate(teacher)
        normalized: Tensor = torch.vmap(self.distance.maybe_normalize)(estimates)
        return normalized


def _check_model_weights(weights: str | Sequence[float]) -> None:
    if isinstance(weights, str):
        if weights not in ("uniform", "recency"):
            raise ValueError(
                f'model_weights must be "uniform", "recency" or numbers, got {weights!r}'
            )
    elif not all(0 <= weight < math.inf for weight in weights) or not sum(weights[:1]) > 0:
        raise ValueError(
            f"model_weights must be finite and at least 0, the first above 0, got {list(weights)}"
        )


def _oldest_first(weights: str | Sequence[float], models: int) -> list[float]:
    """Weights for M_1 .. M_K with sum 1; the age of M_K is 1."""
    if weights == "uniform":
        by_age: Sequence[float] = [1.0] * models
    elif weights == "recency":
        by_age = [1 / age for age in range(1, models + 1)]
    else:
        by_age = [float(weight) for weight in weights[:models]]
    if len(by_age) < models:
        raise ValueError(
            f"model_weights has {len(by_age)} numbers but there are {models} prior models: give "
            f"one for each age up to that of M_1, which is {models}"
        )
    total = sum(by_age)
    return [weight / total for weight in reversed(by_age)]
