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
    """Copies to join a batch, and what the joined batch's rows then are."""

    images: Tensor  # of this process, turned, shape (n, C, H, W)
    labels: Tensor  # of all processes' images, each process's copies after its images
    upright: Tensor  # which of these rows are no copies, int64

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        share: float,
        place: Iterable[int],
        processes: Processes,
    ) -> TurnedCopies:
        """Turn the images of some classes of a batch."""
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
