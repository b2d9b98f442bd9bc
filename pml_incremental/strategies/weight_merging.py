"""A step back towards the old weights after each task."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_incremental.functional.precision import widen
from pml_incremental.models import move_towards
from pml_incremental.strategies.component import Component
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.strategies.trained_model import TrainedModel
from pml_incremental.trainers import Teacher


class WeightMerging(Component):
    r"""After each task, take a convex combination of the old and the new weights.

    .. math:: \theta \leftarrow (1 - a) \, \theta_{old} + a \, \theta_{new}

    for trunk, embedder and classifier, BatchNorm's statistics included.

    Args:
        new_share: a, from 0 to 1, or ``"affinity"``: 1 minus the mean :func:`affinity_change` over
            one pass of the task's training batches, so that a model that sees the new images quite
            differently than before moves less. Ours, after the idea of Xu et al. (LSTKC), AAAI
            2024, to weigh the models by how far their affinities on the new images are apart.

    Raises:
        ValueError: if new_share is none of these.

    Example:
        >>> WeightMerging(0.5).new_share
        0.5
    """

    def __init__(self, new_share: float | Literal["affinity"]) -> None:
        if new_share != "affinity" and not (
            isinstance(new_share, (int, float)) and 0 <= new_share <= 1
        ):
            raise ValueError(f'new_share must be from 0 to 1 or "affinity", got {new_share!r}')
        self.new_share = new_share

    def after_training(self, trained: TrainedModel, teacher: Teacher | None) -> None:
        """Move the trained models back."""
        assert teacher is not None
        share = self.new_share
        if isinstance(share, str):
            share = 1 - mean_affinity_change(trained, teacher)
        for name, old in teacher.models().items():
            move_towards(trained.modules[name], old, 1 - share)


@register_strategy("merge")
def merge(new_share: float | Literal["affinity"] = 0.5) -> Strategy:
    """Average the old and the new weights after each task.

    The idea is that of Xu et al. (LSTKC), AAAI 2024; as part of a sum, such as
    ``correlation+merge``, it makes what another part learned milder.

    Args:
        new_share: how much the new weights count, from 0 to 1 (a half is ours), or ``"affinity"``:
            less, the more the similarities between the new images have changed.

    Example:
        >>> [component.new_share for component in merge().components]
        [0.5]
    """
    return Strategy((WeightMerging(new_share),))


def affinity_change(old: Tensor, new: Tensor, temperature: float = 0.1) -> Tensor:
    r"""How differently two models see which images of a batch belong together.

    .. math:: c_i = \frac12 \sum_{j \ne i} |A^{old}_{ij} - A^{new}_{ij}|, \quad
              A_i = softmax_{j \ne i}(\cos(z_i, z_j) / \tau)

    Args:
        old: embeddings of the batch by one model, shape (N, d), N at least 2.
        new: by the other, shape (N, d').
        temperature: tau > 0; ours.

    Returns:
        From 0 (the same) to 1 (wholly different), shape (N,).

    Example:
        >>> affinity_change(torch.eye(3), torch.eye(3)).tolist()
        [0.0, 0.0, 0.0]
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
