"""The model as training left it, to measure what matters to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from pml_incremental.scenarios import TaskSubset

#: Images (N, C, H, W) and labels (N,).
Batch: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TrainedModel:
    """A model at the end of a task, with gradients, and the means to measure it.

    Attributes:
        modules: trunk, embedder, classifier and loss functions by name; not to be changed.
        batches: gives one pass over the task's training images, sampled as in training.
        embed: embeddings of a batch, shape (N, d), before any normalisation by a loss.
        loss: the task's own loss on a batch (metric and classifier loss with their weights, no
            distillation and no penalty), a scalar.
        images: the task's training images, each once, with training's random transforms.
    """

    modules: Mapping[str, nn.Module]
    batches: Callable[[], Iterable[Batch]]
    embed: Callable[[Batch], Tensor]
    loss: Callable[[Batch], Tensor]
    images: TaskSubset
