"""The frozen model that a student learns beside."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pml_incremental.search.tensors import mapped_tensor
from pml_incremental.trainers.training_state import (
    random_state,
    seed_generators,
    unchanged_random_state,
)
from pml_incremental.wording import counted

_IMAGES = 8


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


def check_teacher(teacher: Any) -> None:
    """Raise unless it is a teacher, or None."""
    if not (teacher is None or isinstance(teacher, Teacher)):
        raise TypeError(
            f"teacher must be a Teacher, got {type(teacher).__name__}: write "
            "teacher=Teacher.snapshot(models) for a frozen copy of the models as they are now"
        )


@dataclass(frozen=True)
class TeacherCache:
    """What a teacher makes of all images of a dataset.

    Attributes:
        outputs: of all images, on the CPU.

    Example:
        >>> nothing = torch.zeros(3, 0)
        >>> outputs = TeacherOutputs(torch.tensor([[1.0], [2.0], [3.0]]), nothing, nothing)
        >>> TeacherCache.of([outputs], images=3).look_up([2, 0]).embeddings.tolist()
        [[3.0], [1.0]]
    """

    outputs: TeacherOutputs

    @classmethod
    def of(
        cls,
        batches: Iterable[TeacherOutputs],
        images: int,
        folder: str | Path | None = None,
    ) -> TeacherCache:
        """Keep the outputs for batch after batch.

        Args:
            batches: outputs for the images, in the order of the dataset.
            images: how many there are in all.
            folder: where they lie, in mapped files; default: in memory.

        Returns:
            The cache.

        Raises:
            ValueError: if there is no room in the folder, or the batches do not make up the images.
        """
        kept: list[Tensor] = []
        done = 0
        for outputs in batches:
            kept = kept or [_room(images, output, folder) for output in outputs]
            end = done + len(outputs[0])
            if end <= images:
                for rows, output in zip(kept, outputs, strict=True):
                    rows[done:end] = output
            done = end
        if done != images or not kept:
            raise ValueError(
                f"a pass over the dataset gave {counted(done, 'image')} where it has {images}: "
                "cache_teacher needs a collate_fn that keeps each image once"
            )
        return cls(TeacherOutputs(*kept))

    def look_up(self, indices: Sequence[int]) -> TeacherOutputs:
        """The outputs for some images, on the CPU.

        Args:
            indices: into the dataset, N of them.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return TeacherOutputs(*(output[rows] for output in self.outputs))


def _room(images: int, like: Tensor, folder: str | Path | None) -> Tensor:
    width = like.shape[1]
    if folder is None or width == 0:
        return torch.empty(images, width, dtype=like.dtype)
    return mapped_tensor(folder, images, width, like.dtype)


def check_unchanging(dataset: Dataset[Any]) -> None:
    """Refuse a dataset with a random transform.

    Some images, evenly spread, are made twice from different seeds. They must be equal, and nothing
    may have been drawn from Python's, NumPy's or torch's generators: a flip of probability 0.01
    would hardly show otherwise. The generators are left as they were.

    Args:
        dataset: map-style, with a length.

    Raises:
        ValueError: if an image changes, naming the first random transform if ``dataset`` has a
            ``transform`` that is a ``Compose`` and a method ``with_transform``.

    Example:
        >>> check_unchanging(torch.utils.data.TensorDataset(torch.eye(2)))
    """
    count = len(dataset)  # type: ignore[arg-type]
    places = sorted({place * (count - 1) // (_IMAGES - 1) for place in range(_IMAGES)})
    with unchanged_random_state():
        changing = next((place for place in places if _changes(dataset, place)), None)
        culprit = None if changing is None else _random_transform(dataset, changing)
    if culprit is not None:
        raise ValueError(
            f"cache_teacher needs images that are always the same, and {culprit} is random: take "
            "random transforms out of the training transform, or leave out cache_teacher"
        )


def _changes(dataset: Any, place: int) -> bool:
    """Whether an item differs from one seed to another, or draws random numbers."""
    items = []
    for seed in (0, 1):
        seed_generators(seed)
        before = random_state()
        items.append(dataset[place])
        if not _same(before, random_state()):
            return True
    return not _same(*items)


def _random_transform(dataset: Any, place: int) -> str:
    """The first random step of a composed transform; else the transform, or the dataset itself."""
    transform = getattr(dataset, "transform", None)
    if transform is None:
        return f"what {type(dataset).__name__} gives"
    if type(transform).__name__ == "Compose" and hasattr(dataset, "with_transform"):
        steps = transform.transforms
        for count in range(len(steps) + 1):
            if _changes(dataset.with_transform(type(transform)(steps[:count])), place):
                return str(steps[count - 1]) if count else f"what {type(dataset).__name__} gives"
    return str(transform)


def _same(first: Any, second: Any) -> bool:
    """Whether two items, made of tensors, arrays, images and plain values, are equal."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return all(_same(value, second[key]) for key, value in first.items())
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)
