"""Strategies that keep the similarities within a batch."""

from __future__ import annotations

from pml_incremental.losses import (
    CorrelationDistillationLoss,
    RectifiedCorrelationLoss,
    RelationalDistillationLoss,
    SimilarityPreservingLoss,
)
from pml_incremental.strategies.distillation import ProbeOptions, distil
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("correlation")
def correlation(
    weight: float = 10.0, temperature: float = 4.0, probes: ProbeOptions = None
) -> Strategy:
    """Distil the similarity matrix of the previous task's model.

    Args:
        weight: weight of the correlation loss (10 in Chen et al., IEEE TMM 2022).
        temperature: its temperature.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in correlation(weight=5).components]
        ['correlation_loss']
    """
    loss = CorrelationDistillationLoss(temperature)
    return distil("correlation_loss", loss, weight, probes)


@register_strategy("rectified-correlation")
def rectified_correlation(
    weight: float = 10.0, temperature: float = 4.0, probes: ProbeOptions = None
) -> Strategy:
    """Distil the previous similarity matrix, corrected where it contradicts the labels.

    The rectification is after Xu et al. (LSTKC), AAAI 2024. Probes have no labels, so that the
    similarities between them are not corrected.

    Args:
        weight: weight of the loss; ours, that of ``correlation``.
        temperature: its temperature.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in rectified_correlation().components]
        ['rectified_correlation_loss']
    """
    loss, plain = RectifiedCorrelationLoss(temperature), CorrelationDistillationLoss(temperature)
    return distil("rectified_correlation_loss", loss, weight, probes, loss_on_probes=plain)


@register_strategy("rkd")
def rkd(
    weight: float = 1.0,
    distance_weight: float = 1.0,
    angle_weight: float = 2.0,
    probes: ProbeOptions = None,
) -> Strategy:
    """Distil the distances and angles between the previous model's embeddings.

    Args:
        weight: weight of the loss. Park et al., CVPR 2019, give distances 1 and angles 2 in metric
            learning, where they distil without any other loss; 25 and 50 beside cross-entropy.
        distance_weight: share of the distances in the loss.
        angle_weight: share of the angles; with 0 they are not computed.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in rkd().components]
        ['relational_loss']
    """
    loss = RelationalDistillationLoss(distance_weight, angle_weight)
    return distil("relational_loss", loss, weight, probes)


@register_strategy("similarity-preserving")
def similarity_preserving(weight: float = 3000.0, probes: ProbeOptions = None) -> Strategy:
    """Distil the row-normalised Gram matrix of the previous model's embeddings.

    Args:
        weight: weight of the loss (3000 in Tung & Mori, ICCV 2019).
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in similarity_preserving().components]
        ['similarity_preserving_loss']
    """
    loss = SimilarityPreservingLoss()
    return distil("similarity_preserving_loss", loss, weight, probes)
