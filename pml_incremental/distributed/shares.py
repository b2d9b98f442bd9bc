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

    Args:
        images: how many there are.
        batch_size: of them.
        processes: that share them; the first gets at least one batch.

    Example:
        >>> [share_of_images(7, 3, Processes(rank, 2)) for rank in range(2)]
        [range(0, 6), range(6, 7)]
    """
    batches = -(-images // batch_size)
    first, end = (-(-r * batches // processes.size) for r in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, images), min(end * batch_size, images))


def share_of_loader(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """A loader of this process's share of the images of a loader without random order.

    Args:
        loader: of a map-style dataset.
        processes: that share it.
    """
    if not processes.several:
        return loader
    return DataLoader(
        Subset(loader.dataset, _share_of(loader, processes)),
        loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def send_rows(rows: Tensor) -> None:
    """Send rows to the first process.

    Args:
        rows: shape (n, width), as many as the process's share of images.
    """
    for block in rows.split(_BLOCK):
        distributed.send(block.contiguous(), dst=0)


def receive_rows(like: Tensor, loader: DataLoader[Any], processes: Processes) -> Iterator[Tensor]:
    """In the first process, what the others send, in the order of the images.

    Args:
        like: rows of the same width and type.
        loader: of all images.
        processes: that share it.
    """
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
