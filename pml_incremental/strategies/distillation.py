"""Strategies that keep similarities, positions or logits."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import nn

from pml_incremental.losses import (
    CorrelationDistillationLoss,
    EmbeddingDistillationLoss,
    LogitDistillationLoss,
    MMDLoss,
    RectifiedCorrelationLoss,
    RelationalDistillationLoss,
    SimilarityPreservingLoss,
)
from pml_incremental.scenarios import Task
from pml_incremental.strategies.component import Component, WeightedLoss, check_weight
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Compared, Probes, Teacher

#: How probes are made; or a mapping of that (``images``), the ``weight`` of the loss on them
#: (default: that of the batch), and the other arguments of :class:`Probes`. None: no probes.
ProbeOptions: TypeAlias = str | Sequence[Any] | Mapping[str, Any] | None


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


@register_strategy("l2")
def l2(weight: float = 1.0, probes: ProbeOptions = None) -> Strategy:
    """Hold each embedding where the previous task's model has it.

    The L2 baseline of Chen et al., IEEE TMM 2022.

    Args:
        weight: weight of the loss; ours.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in l2().components]
        ['l2_loss']
    """
    return distil("l2_loss", EmbeddingDistillationLoss("l2"), weight, probes)


@register_strategy("cosine")
def cosine(weight: float = 5.0, probes: ProbeOptions = None) -> Strategy:
    """Hold the direction of each embedding (the less-forget constraint of LUCIR).

    Args:
        weight: weight of the loss. 5 is that of Hou et al., CVPR 2019, for CIFAR-100, without its
            growth with the number of old classes.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in cosine().components]
        ['cosine_loss']
    """
    return distil("cosine_loss", EmbeddingDistillationLoss("cosine"), weight, probes)


@register_strategy("mmd")
def mmd(weight: float = 1.0, probes: ProbeOptions = None) -> Strategy:
    """Hold the distribution of a batch's embeddings near the previous model's.

    The maximum mean discrepancy of Chen et al., BMVC 2020; there beside logit distillation, which
    is ``mmd+lwf`` here.

    Args:
        weight: weight of the loss; ours.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in mmd().components]
        ['mmd_loss']
    """
    return distil("mmd_loss", MMDLoss(), weight, probes)


@register_strategy("lwf")
def lwf(weight: float = 1.0, temperature: float = 2.0) -> Strategy:
    """Distil the previous classifier's answers on the new images (learning without forgetting).

    Needs a classifier in the config.

    Args:
        weight: weight of the loss; ours. That of Li & Hoiem, TPAMI 2018, is 0.25 here, as their
            loss has no factor of the squared temperature.
        temperature: of both softmaxes (2 in the paper).

    Example:
        >>> [component.needs_classifier for component in lwf().components]
        [True]
    """
    loss = LogitDistillationLoss(temperature)
    return Strategy((Distillation("lwf_loss", loss, weight, compares="logits"),))


class Distillation(Component):
    """Distil from the teacher with one loss.

    Args:
        name: the key in ``loss_funcs``, ending in ``_loss``.
        loss: compares the student's with the teacher's embeddings.
        weight: its weight in the total loss, at least 0.
        compares: as :class:`~pml_incremental.trainers.IncrementalMixin` has it; ``"logits"`` need a
            classifier.
        probes: images to compare them on; default: those of the batch. In each task other random
            numbers are drawn for them, by the run's seed.

    Raises:
        ValueError: if the weight is negative.

    Example:
        >>> from pml_incremental.losses import CorrelationDistillationLoss
        >>> distillation = Distillation("correlation_loss", CorrelationDistillationLoss(), 10.0)
    """

    def __init__(
        self,
        name: str,
        loss: nn.Module,
        weight: float,
        compares: Compared = "embeddings",
        probes: Probes | None = None,
    ) -> None:
        check_weight(name, weight)
        self.name = name
        self.weighted = WeightedLoss(loss, weight, compares, probes)
        self.needs_classifier = compares == "logits"
        self.caches_teacher = probes is not None and probes.pool is not None

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:  # noqa: ARG002
        """Let the task have probes of its own."""
        probes = self.weighted.probes
        if probes is not None:
            self.weighted = replace(
                self.weighted, probes=replace(probes, seed=torch.initial_seed())
            )
        return teacher

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The one loss."""
        return {self.name: self.weighted}


def distil(
    name: str,
    loss: nn.Module,
    weight: float,
    probes: ProbeOptions = None,
    loss_on_probes: nn.Module | None = None,
) -> Strategy:
    """Distil with one loss on the batch and, if there are any, on probes."""
    on_batch = Strategy((Distillation(name, loss, weight),))
    if probes is None:
        return on_batch
    made, probe_weight = probes_of(probes, weight)
    other = copy.deepcopy(loss) if loss_on_probes is None else loss_on_probes
    on_probes = Distillation(f"probe_{name}", other, probe_weight, probes=made)
    return on_batch + Strategy((on_probes,))


def probes_of(
    options: str | Sequence[Any] | Mapping[str, Any], weight: float = 0.0
) -> tuple[Probes, float]:
    """Probes and the weight of the loss on them, of :data:`ProbeOptions`."""
    known: dict[str, Any] = dict(options) if isinstance(options, Mapping) else {"images": options}
    weight = known.pop("weight", weight)
    return Probes(**known), weight
