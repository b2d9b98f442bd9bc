"""Holding the model where the new images do not reach."""

from __future__ import annotations

from pml_incremental.losses import (
    CorrelationDistillationLoss,
    EmbeddingDistillationLoss,
    RectifiedCorrelationLoss,
)
from pml_incremental.strategies.component import Component
from pml_incremental.strategies.distillation import Distillation, ProbeOptions, distil
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.strategies.weight_merging import merge


class TurnedClasses(Component):
    """Let images of each batch join it turned, as classes of their own.

    Args:
        share: of the batch's images, from 0 to 1; see ``turned`` of
            :class:`~pml_incremental.trainers.IncrementalMixin`.

    Raises:
        ValueError: if share is outside of its range.

    Example:
        >>> TurnedClasses(0.5).turned
        0.5
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1 (of each batch's images), got {share}")
        self.turned = share


@register_strategy("turned-classes")
def turned_classes(share: float = 0.5) -> Strategy:
    """Learn images turned by quarter turns, mirrored or not, as further classes.

    For sums such as ``correlation+turned-classes``: what else a strategy compares, it compares on
    the turned images too. Turned images as further classes are those of Zhu et al. (PASS), CVPR
    2021; mirroring them, and turning only some, is ours.

    Args:
        share: of each batch's images that join it turned, from 0 to 1.

    Example:
        >>> [component.turned for component in turned_classes().components]
        [0.5]
    """
    return Strategy((TurnedClasses(share),))


@register_strategy("function-matching")
def function_matching(
    weight: float = 10.0,
    temperature: float = 4.0,
    map_weight: float = 0.5,
    turned: float = 0.35,
    lose_at_most: float | None = 2.0,
    probes: ProbeOptions = None,
) -> Strategy:
    """Hold the model on more than the new images, then go back as far as the new classes allow.

    ``rectified-correlation``, and the distance between the models' pooled feature maps (Douillard
    et al. (PODNet), ECCV 2020), of each batch and of turned copies of its images, which are learned
    as classes of their own (``turned-classes``); after the task, ``merge``. Comparing teacher and
    student on inputs beyond the training images is the idea of Beyer et al., CVPR 2022; weights and
    share are ours.

    Args:
        weight: of the correlation loss.
        temperature: of the correlation loss.
        map_weight: of the distance between feature maps; 0 for trunks that have none.
        turned: share of each batch's images that join it turned, from 0 to 1.
        lose_at_most: percentage points of Recall@1 among the new training images that going back
            towards the old weights may cost: more keeps more of the old classes; None to stay.
        probes: images to compare similarities on besides, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [type(component).__name__ for component in function_matching().components]
        ['Distillation', 'Distillation', 'TurnedClasses', 'WeightMerging']
    """
    loss, plain = RectifiedCorrelationLoss(temperature), CorrelationDistillationLoss(temperature)
    held = distil("rectified_correlation_loss", loss, weight, probes, loss_on_probes=plain)
    maps = Distillation("map_loss", EmbeddingDistillationLoss("l2"), map_weight, "maps")
    strategy = held + Strategy((maps,)) + turned_classes(turned)
    return strategy if lose_at_most is None else strategy + merge(lose_at_most=lose_at_most)
