"""Images that processes go through in parts, and the rows that come of it in one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, distributed
from torch.utils.data import DataLoader, Subset

from pml_incremental.distributed.processes import Processes

# Rows sent at once: a few MB, so that what lies in files is never in memory whole.
_BLOCK = 4096


def share_of_images(images: int, batch_size: int, processes: Processes) -> range:
    """Positions of a process's images: whole batches, as one process would go through them.

    Batches of the same images give the same rows to the bit, which others need not.
    """
    batches = -(-images // batch_size)
    first, end = (-(-r * batches // processes.size) for r in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, images), min(end * batch_size, images))


def share_of_loader(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """A loader of this process's share of the images of a loader without random order."""
    if not processes.several:
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
