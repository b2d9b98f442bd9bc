"""What processes share: gradients, weights, images and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, Subset

from pml_incremental.distributed.processes import Processes

# Rows sent at once: a few MB, so that what lies in files is never in memory whole.
_BLOCK = 4096


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Let gradients that all processes have computed alike be the same to the bit."""
    if not processes.is_distributed:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes.size


@torch.no_grad()
def copy_from_rank_zero(modules: Iterable[nn.Module], processes: Processes) -> None:
    """Give all processes the first's weights and buffers, in place."""
    if not processes.is_distributed:
        return
    for module in modules:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


def share_of_images(images: int, batch_size: int, processes: Processes) -> range:
    """Positions of a process's images: whole batches, as one process would go through them.

    Batches of the same images give the same rows to the bit, which others need not.
    """
    batches = -(-images // batch_size)
    first, end = (-(-r * batches // processes.size) for r in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, images), min(end * batch_size, images))


def share_of_loader(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """A loader of this process's share of the images of a loader without random order."""
    if not processes.is_distributed:
        return loader
    return DataLoader(
        Subset(loader.dataset, _share_of(loader, processes)),
        loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def send_rows(rows: Tensor) -> None:
    """Send rows to the first process."""
    for block in rows.split(_BLOCK):
        distributed.send(block.contiguous(), dst=0)


def receive_rows(like: Tensor, loader: DataLoader[Any], processes: Processes) -> Iterator[Tensor]:
    """In the first process, what the others send, in the order of the images."""
    for rank in range(1, processes.size):
        coming = len(_share_of(loader, Processes(rank, processes.size)))
        for done in range(0, coming, _BLOCK):
            block = like.new_empty(min(_BLOCK, coming - done), *like.shape[1:])
            distributed.recv(block, src=rank)
            yield block


def _share_of(loader: DataLoader[Any], processes: Processes) -> range:
    assert loader.batch_size is not None  # only loaders with batches of their own have none
    images: Any = loader.dataset
    return share_of_images(len(images), loader.batch_size, processes)


class RankBatches(BatchSampler):
    """The part of each batch that this process loads, for training loops of one's own.

    A whole pass is drawn at once, as the sampler decides it in the first process, so that all take
    parts of the same batches: what they gather is what one process would have loaded. Trainers of
    this package need it not; they share their batches themselves.

    Args:
        batches: decides the batches, such as PML's ``MPerClassSampler`` in a ``BatchSampler``.
        processes: that share them.

    Raises:
        ValueError: while iterating, if a batch cannot be shared evenly.

    Example:
        >>> from pytorch_metric_learning.samplers import MPerClassSampler
        >>> sampler = MPerClassSampler([0, 0, 1, 1], m=2, batch_size=4, length_before_new_iter=8)
        >>> batches = RankBatches(BatchSampler(sampler, 4, drop_last=True), Processes(1, 2))
        >>> len(batches)
        2
    """

    def __init__(self, batches: BatchSampler, processes: Processes) -> None:
        self.batches = batches
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in drawn_by_rank_zero(self.batches, self.processes):
            yield list(self.processes.share(batch))

    def __len__(self) -> int:
        return len(self.batches)


def drawn_by_rank_zero(batches: BatchSampler, processes: Processes) -> list[list[int]]:
    """The batches of a pass, which are those of the first process in all of them.

    Each draws its own too, so that streams of random numbers stay where the first's are.
    """
    drawn: Sequence[Any] = [[int(index) for index in batch] for batch in batches]
    return list(processes.broadcast(drawn))
