"""The frozen model that a student learns beside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class TeacherOutputs(NamedTuple):
    """What a teacher makes of N images; of width 0 what is not wanted.

    Attributes:
        embeddings: shape (N, d_T).
        features: the output of its trunk, shape (N, D_T).
        maps: its trunk's pooled feature maps, shape (N, M_T).
    """

    embeddings: Tensor
    features: Tensor
    maps: Tensor


class Teacher:
    """A frozen trunk and embedder, and a classifier if there is one.

    A plain object and no module: what PML walks through, saves or records every epoch (models,
    losses) never contains it. Its parameters require no gradient and it stays in eval mode.

    Args:
        trunk: gives features, frozen in place. Pass a copy if it is trained elsewhere, or use
            :meth:`snapshot`.
        embedder: turns features into embeddings; default: the identity.
        classifier: turns embeddings into logits, for losses that compare those.

    Example:
        >>> student = {"trunk": nn.Flatten(), "embedder": nn.Linear(4, 2)}
        >>> teacher = Teacher.snapshot(student)
        >>> embeddings = teacher.embed(torch.zeros(3, 1, 2, 2))
        >>> embeddings.shape, embeddings.requires_grad
        (torch.Size([3, 2]), False)
    """

    def __init__(
        self,
        trunk: nn.Module,
        embedder: nn.Module | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        self.trunk = _freeze(trunk)
        self.embedder = _freeze(nn.Identity() if embedder is None else embedder)
        self.classifier = None if classifier is None else _freeze(classifier)

    @classmethod
    def snapshot(cls, models: Mapping[str, nn.Module]) -> Teacher:
        """A teacher that is a frozen copy of a trainer's ``models`` as they are now.

        Args:
            models: a mapping with the keys ``trunk`` and, if there are such, ``embedder`` and
                ``classifier``.

        Returns:
            The teacher, on the device of the models.
        """
        return cls(
            copy.deepcopy(models["trunk"]),
            copy.deepcopy(models.get("embedder")),
            copy.deepcopy(models.get("classifier")),
        )

    def models(self) -> dict[str, nn.Module]:
        """Trunk, embedder and, if there is one, classifier, by name."""
        found = {"trunk": self.trunk, "embedder": self.embedder, "classifier": self.classifier}
        return {name: model for name, model in found.items() if model is not None}

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings of a batch, without gradient.

        Args:
            images: shape (N, C, H, W), on the teacher's device.

        Returns:
            Shape (N, d_T).
        """
        return self.embed_with_features(images)[0]

    def embed_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of a batch and the trunk's output that they come from, without gradient.

        They are computed in inference mode and are plain tensors, which a loss may save for its
        backward pass.

        Args:
            images: shape (N, C, H, W), on the teacher's device.

        Returns:
            Shapes (N, d_T) and (N, D_T).
        """
        with torch.inference_mode():
            features = self.trunk(images)
            embeddings = self.embedder(features)
        return embeddings.clone(), features.clone()

    def classify(self, embeddings: Tensor) -> Tensor:
        """Logits for embeddings of its own, without gradient.

        Args:
            embeddings: what :meth:`embed` gave, shape (N, d_T).

        Returns:
            Shape (N, C), C being the classes known to it.

        Raises:
            ValueError: if it has no classifier.
        """
        if self.classifier is None:
            raise ValueError(
                "the teacher has no classifier, so it has no logits to distil: train with a "
                "classifier, or use a strategy that compares embeddings"
            )
        with torch.inference_mode():
            logits: Tensor = self.classifier(embeddings)
        return logits.clone()


def _freeze(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)
