"""A teacher's outputs for all images, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pml_incremental.search.mapped import mapped_tensor


@dataclass(frozen=True)
class TeacherCache:
    """Embeddings of all images of a dataset, and the features they come from if these are wanted.

    Attributes:
        embeddings: shape (images, d_T), on the CPU.
        features: shape (images, D_T); (images, 0) if they are not wanted.

    Example:
        >>> batches = [(torch.eye(2), torch.zeros(2, 0)), (torch.ones(1, 2), torch.zeros(1, 0))]
        >>> TeacherCache.of(batches, images=3).look_up([2, 0])[0].tolist()
        [[1.0, 1.0], [1.0, 0.0]]
    """

    embeddings: Tensor
    features: Tensor

    @classmethod
    def of(
        cls,
        batches: Iterable[tuple[Tensor, Tensor]],
        images: int,
        folder: str | Path | None = None,
    ) -> TeacherCache:
        """Keep the outputs for batch after batch.

        Args:
            batches: embeddings and features of the images, in the order of the dataset.
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
        return cls(*kept)

    def look_up(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Embeddings and features of some images.

        Args:
            indices: into the dataset, N of them.

        Returns:
            Shapes (N, d_T) and (N, D_T), on the CPU.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self.embeddings[rows], self.features[rows]


def _room(images: int, like: Tensor, folder: str | Path | None) -> Tensor:
    width = like.shape[1]
    if folder is None or width == 0:
        return torch.empty(images, width, dtype=like.dtype)
    return mapped_tensor(folder, images, width, like.dtype)
