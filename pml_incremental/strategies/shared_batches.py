"""One pass over images, each batch of which several processes embed in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler

from pml_incremental.distributed import Processes
from pml_incremental.scenarios import TaskSubset
from pml_incremental.trainers.batch_order import BatchOrder
from pml_incremental.trainers.loading import to_device, training_loader


def embed_in_shares(
    images: TaskSubset,
    models: Sequence[Callable[[Tensor], Tensor]],
    batch_size: int,
    processes: Processes,
    device: torch.device,
) -> Iterator[tuple[Tensor, ...]]:
    """What each model makes of the same images, batch by batch, in random order.

    Each process loads and embeds its share of a batch; all of them get the whole batch's rows.

    Args:
        images: each of which is seen once.
        models: map images, shape (B, C, H, W), to rows, shape (B, d).
        batch_size: of the whole batch; the last one may be smaller.
        processes: that share the batches.
        device: of the models.
    """
    batches = _EvenBatches(len(images), batch_size, processes.size)
    order = BatchOrder(batches, processes=processes)
    loader = training_loader(images, order, 0, None, None, device)
    left = len(images)
    for data, _ in loader:
        own = to_device(data, device)
        rows = tuple(processes.gather(model(own))[:left] for model in models)
        left -= len(rows[0])
        yield rows


class _EvenBatches(BatchSampler):
    """All images in random order; each batch ends in repeats until it can be shared evenly."""

    def __init__(self, images: int, batch_size: int, processes: int) -> None:
        super().__init__(RandomSampler(range(images)), batch_size, drop_last=False)
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield batch + batch[-1:] * (-len(batch) % self.processes)
