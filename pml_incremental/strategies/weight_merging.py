"""Averages of old and new weights: after each task, or of a teacher that follows its student."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.functional.checks import widen
from pml_incremental.metrics.recall import lone_queries, recall_at_k
from pml_incremental.models import move_towards, weight_change
from pml_incremental.search import ExactSearch
from pml_incremental.strategies.component import Component, TrainedModel
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Teacher

logger = logging.getLogger(__name__)


class WeightMerging(Component):
    r"""After each task, take a convex combination of the old and the new weights.

    .. math:: \theta \leftarrow (1 - a) \, \theta_{old} + a \, \theta_{new}

    for trunk, embedder and classifier, BatchNorm's statistics included.
    """

    def __init__(
        self, new_share: float | Literal["affinity"], lose_at_most: float | None = None
    ) -> None:
        if new_share != "affinity" and not (
            isinstance(new_share, (int, float)) and 0 <= new_share <= 1
        ):
            raise ValueError(f'new_share must be from 0 to 1 or "affinity", got {new_share!r}')
        if lose_at_most is not None and not lose_at_most >= 0:
            raise ValueError(
                f"lose_at_most must be at least 0 percentage points of Recall@1, got {lose_at_most}"
            )
        self.new_share = new_share
        self.lose_at_most = lose_at_most
        self._report: dict[str, Any] = {}

    def after_training(self, trained: TrainedModel, teacher: Teacher | None) -> None:
        """Move the trained models back."""
        assert teacher is not None
        share = self.new_share
        if self.lose_at_most is not None:
            found = smallest_share(trained, teacher, self.lose_at_most / 100)
            smallest, recalls = self.processes.broadcast(found)
            held = held_share(trained.modules, teacher).item()
            share = 1 - held * (1 - smallest)
            self._report = {"recall_at_1_by_new_share": recalls, "held_share": held}
            logger.info("new weights count %.2f: %s", share, self._report)
        elif isinstance(share, str):
            share = 1 - mean_affinity_change(trained, teacher)
        self._report["new_share"] = share
        for name, old in teacher.models().items():
            move_towards(trained.modules[name], old, 1 - share)

    def report(self) -> dict[str, Any]:
        """The share of the new weights, and what it was chosen by."""
        return self._report


@register_strategy("merge")
def merge(
    new_share: float | Literal["affinity"] = 0.5, lose_at_most: float | None = None
) -> Strategy:
    """Average the old and the new weights after each task.

    The idea is that of Xu et al. (LSTKC), AAAI 2024; as part of a sum, such as
    ``correlation+merge``, it makes what another part learned milder.

    Args:
        new_share: how much the new weights count, from 0 to 1 (a half is ours), or ``"affinity"``:
            less, the more the similarities between the new images have changed.
        lose_at_most: instead of new_share: as little of the new weights as costs at most so many
            percentage points of Recall@1 among the new training images.

    Example:
        >>> [component.new_share for component in merge().components]
        [0.5]
    """
    return Strategy((WeightMerging(new_share, lose_at_most),))


#: Mean change of the weights (:func:`~pml_incremental.models.weight_change`) that calls for all.
FULL_CHANGE = 0.1


def held_share(models: Mapping[str, nn.Module], teacher: Teacher) -> Tensor:
    """How much of a hold a model needs, by how far its weights have moved: from 0 to 1.

    A network trained from scratch overwrites what it knew. A pretrained one that is fine-tuned with
    small steps hardly moves, gains on old classes by learning new ones, and holding its maps or
    going back would take that away. The measure is ours.
    """
    embedding = {name: models[name] for name in ("trunk", "embedder")}
    return (weight_change(embedding, teacher.models()) / FULL_CHANGE).clamp(max=1)


def smallest_share(
    trained: TrainedModel, old: Teacher, loss: float
) -> tuple[float, dict[str, float]]:
    """How little of the new weights is enough for the new classes.

    Recall is taken to fall with the share, so that a few of the ten shares need to be looked at.
    """
    recalls: dict[int, float] = {}

    def is_enough(tenths: int) -> bool:
        recalls[tenths] = _recall_at_1(trained, old, tenths / 10)
        return recalls[tenths] >= recalls[10] - loss

    is_enough(10)
    chosen = bisect_left(range(1, 10), True, key=is_enough) + 1
    return chosen / 10, {str(tenths / 10): found for tenths, found in sorted(recalls.items())}


@torch.no_grad()
def _recall_at_1(trained: TrainedModel, old: Teacher, share: float) -> float:
    """Of the new training images among themselves, with so much of the new weights."""
    merged = Teacher.snapshot({name: trained.modules[name] for name in old.models()})
    for name, model in merged.models().items():
        move_towards(model, old.models()[name], 1 - share)
    embedded = [(merged.embed(images), labels) for images, labels in trained.same_batches()]
    embeddings, labels = map(torch.cat, zip(*embedded, strict=True))
    labels = labels.to(embeddings.device)
    everyone = range(len(labels))
    nearest = ExactSearch(normalize(widen(embeddings)), labels).nearest(everyone, everyone, 1)
    hits = recall_at_k(labels[nearest], labels, 1)
    return hits[~lone_queries(labels, labels, self_in_gallery=True)].mean().item()


def affinity_change(old: Tensor, new: Tensor, temperature: float = 0.1) -> Tensor:
    r"""How differently two models see which images of a batch belong together.

    .. math:: c_i = \frac12 \sum_{j \ne i} |A^{old}_{ij} - A^{new}_{ij}|, \quad
              A_i = softmax_{j \ne i}(\cos(z_i, z_j) / \tau)
    """
    change = _affinities(old, temperature) - _affinities(new, temperature)
    return change.abs().sum(dim=1) / 2


@torch.no_grad()
def mean_affinity_change(trained: TrainedModel, teacher: Teacher) -> float:
    """Mean over one pass of the task's training batches, both models in evaluation mode."""
    student = Teacher.snapshot({name: trained.modules[name] for name in teacher.models()})
    changes = [
        affinity_change(teacher.embed(images), student.embed(images))
        for images, _ in trained.batches()
    ]
    return torch.cat(changes).mean().item()


def _affinities(embeddings: Tensor, temperature: float) -> Tensor:
    unit = normalize(widen(embeddings))
    similarities = unit @ unit.T / temperature
    similarities.fill_diagonal_(-torch.inf)
    return similarities.softmax(dim=1)


class MovingTeacher(Component):
    r"""Let the teacher follow the student during a task.

    .. math:: \theta_T \leftarrow m \, \theta_T + (1 - m) \, \theta_S \text{ after every step}

    Each task starts with the previous model as teacher.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """

    moves_teacher = True

    def __init__(self, momentum: float) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, got {momentum}")
        self.momentum = momentum

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """Move the teacher."""
        if teacher is not None:
            for name, model in teacher.models().items():
                move_towards(model, modules[name], 1 - self.momentum)


@register_strategy("ema-teacher")
def ema_teacher(momentum: float = 0.999) -> Strategy:
    """Let the teacher follow the student; for sums such as ``correlation+ema-teacher``.

    Args:
        momentum: how much of the teacher stays at each step (0.999 in Tarvainen & Valpola,
            NeurIPS 2017).

    Example:
        >>> [component.momentum for component in ema_teacher().components]
        [0.999]
    """
    return Strategy((MovingTeacher(momentum),))
