"""Holding the model where the new images do not reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.losses import EmbeddingDistillationLoss
from pml_incremental.scenarios import Task
from pml_incremental.strategies.component import Component
from pml_incremental.strategies.distillation import (
    Distillation,
    ProbeOptions,
    rectified_correlation,
)
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.strategies.weight_merging import held_share, merge
from pml_incremental.trainers import Teacher


class MapMatching(Distillation):
    """Keep the pooled feature maps, the more the weights have moved."""

    def __init__(self, weight: float) -> None:
        super().__init__("map_loss", _Scaled(EmbeddingDistillationLoss("l2")), weight, "maps")

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:
        """Start with no hold, as the weights are the teacher's."""
        self._scaled.factor = torch.zeros(())
        return super().before_task(task, previous, teacher)

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """See how far the weights have moved."""
        assert teacher is not None
        if self.weighted.weight != 0:
            self._scaled.factor = held_share(modules, teacher)

    def training_state(self) -> dict[str, Tensor]:
        """How much is held."""
        return {"factor": self._scaled.factor}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`training_state` gave."""
        self._scaled.factor = state["factor"]

    @property
    def _scaled(self) -> _Scaled:
        assert isinstance(self.weighted.loss, _Scaled)
        return self.weighted.loss


class _Scaled(nn.Module):
    """A loss times a factor that changes while training."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.factor: Tensor
        self.register_buffer("factor", torch.zeros(()), persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        scaled: Tensor = self.factor * self.loss(*args, **kwargs)
        return scaled


class TurnedClasses(Component):
    """Let images of each batch join it turned, as classes of their own."""

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1 (of each batch's images), got {share}")
        self.turned = share


@register_strategy("turned-classes")
def turned_classes(share: float = 0.5) -> Strategy:
    """Learn images turned by quarter turns as further classes.

    For sums such as ``correlation+turned-classes``: what else a strategy compares, it compares on
    the turned images too. Turned images as further classes are those of Zhu et al. (PASS), CVPR
    2021; turning only some classes of each batch is ours.

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

    ``rectified-correlation`` of each batch and of turned copies of its images, which are learned as
    classes of their own (``turned-classes``). The more the weights move (:func:`held_share`), the
    more the pooled feature maps (Douillard et al. (PODNet), ECCV 2020) are kept, and the more the
    task is followed by a ``merge``. Comparing teacher and student on inputs beyond the training
    images is the idea of Beyer et al., CVPR 2022; the rest, weights and share are ours.

    Args:
        weight: of the correlation loss.
        temperature: of the correlation loss.
        map_weight: of the distance between feature maps, see :class:`MapMatching`; 0 for trunks
            that have none.
        turned: share of each batch's images that join it turned, from 0 to 1.
        lose_at_most: percentage points of Recall@1 among the new training images that going back
            towards the old weights may cost: more keeps more of the old classes; None to stay.
        probes: images to compare similarities on besides, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [type(component).__name__ for component in function_matching().components]
        ['Distillation', 'MapMatching', 'TurnedClasses', 'WeightMerging']
    """
    held = rectified_correlation(weight, temperature, probes)
    strategy = held + Strategy((MapMatching(map_weight),)) + turned_classes(turned)
    return strategy if lose_at_most is None else strategy + merge(lose_at_most=lose_at_most)
