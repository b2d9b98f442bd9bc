"""Turned copies of a batch's images, in any number of processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_incremental.distributed import Processes
from pml_incremental.probes import (
    images_of_some_classes,
    turn_images,
    turn_of_classes,
    turned_labels,
)


@dataclass(frozen=True)
class TurnedCopies:
    """Copies to join a batch, and what the joined batch's rows then are.

    Attributes:
        images: of this process, turned, shape (n, C, H, W).
        labels: of all processes' images, each process's copies after its images.
        upright: which of these rows are no copies, int64.
    """

    images: Tensor
    labels: Tensor
    upright: Tensor

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        share: float,
        place: Iterable[int],
        processes: Processes,
    ) -> TurnedCopies:
        """Turn the images of some classes of a batch.

        Args:
            images: of this process, shape (N, C, H, W).
            labels: of all processes' images, shape (W N,) for W processes.
            share: of the images to turn, from 0 to 1.
            place: where in training this is, as numbers that tell it from other batches.
            processes: that share the batch.

        Example:
            >>> images, labels = torch.rand(4, 1, 2, 2), torch.tensor([0, 0, 1, 1])
            >>> copies = TurnedCopies.of(images, labels, 0.5, (1, 0), Processes())
            >>> copies.images.shape, copies.labels[:4].tolist(), (copies.labels < 0).sum().item()
            (torch.Size([2, 1, 2, 2]), [0, 0, 1, 1], 2)
        """
        generator = torch.Generator().manual_seed(hash(tuple(place)) & (2**63 - 1))
        count = len(images)
        by_process = labels.view(-1, count)
        is_square = images.shape[-1] == images.shape[-2]
        turns = turn_of_classes(by_process, generator, is_square)
        chosen = images_of_some_classes(by_process, round(share * count), generator)
        its_turns = turns.gather(1, chosen)
        new = turned_labels(by_process.gather(1, chosen), its_turns)
        joined = torch.cat([by_process, new], dim=1)
        places = torch.arange(joined.numel(), device=labels.device).view_as(joined)
        return cls(
            turn_images(images[chosen[processes.rank]], its_turns[processes.rank]),
            joined.flatten(),
            places[:, :count].flatten(),
        )
