"""A teacher's outputs for all images, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pml_incremental.search.mapped import mapped_tensor
from pml_incremental.trainers.teacher import TeacherOutputs


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
                f"a pass over the dataset gave {done} images where it has {images}: cache_teacher "
                "needs a collate_fn that keeps each image once"
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
