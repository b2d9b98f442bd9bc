"""Embeddings of all images of a loader, by any number of processes, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.distributed import Processes
from pml_incremental.distributed.processes import receive_rows, send_rows, share_of_loader
from pml_incremental.search.tensors import mapped_tensor


@torch.no_grad()
def embed_all(
    loader: DataLoader[Any],
    embed: Callable[[Any], tuple[Tensor, Tensor]],
    processes: Processes,
    folder: str | None,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, d) and labels (N, levels) of all images, in order."""
    own = share_of_loader(loader, processes)
    images: Any = (loader if processes.is_rank_zero else own).dataset
    embeddings, labels = RowsByBatch(len(images), folder), RowsByBatch(len(images))
    for batch in tqdm(own, desc="embedding", disable=not progress):
        for rows, found in zip((embeddings, labels), embed(batch), strict=True):
            rows.add(found)
    for rows in (embeddings, labels):
        if not processes.is_rank_zero and rows.filled:
            send_rows(rows.rows())
        elif processes.is_distributed and processes.is_rank_zero:
            for block in receive_rows(rows.rows(), loader, processes):
                rows.add(block)
    if not processes.is_rank_zero:
        return torch.empty(0, 0), torch.empty(0, 0)
    return embeddings.rows(), labels.rows()


class RowsByBatch:
    """One tensor for all rows, on the device of the batches or in a file."""

    def __init__(self, size: int, folder: str | None = None) -> None:
        self.size, self.folder = size, folder
        self.filled = 0
        self._rows: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        """Add some rows, shape (B, d)."""
        if self._rows is None:
            shape = self.size, batch.shape[1]
            if self.folder is None:
                self._rows = torch.empty(shape, dtype=batch.dtype, device=batch.device)
            else:
                self._rows = mapped_tensor(self.folder, *shape, batch.dtype)
        self._rows[self.filled : self.filled + len(batch)] = batch
        self.filled += len(batch)

    def rows(self) -> Tensor:
        """All rows added, in order; at least one batch must have been."""
        assert self._rows is not None
        return self._rows[: self.filled]
