"""Rows that come batch by batch, gathered in one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.search.mapped import mapped_tensor


class RowsByBatch:
    """One tensor for all rows, on the device of the batches or in a file.

    Args:
        size: how many rows there will be at most.
        folder: keep them in a file there that is mapped into memory; default: in memory.

    Example:
        >>> gathered = RowsByBatch(3)
        >>> gathered.add(torch.zeros(2, 4))
        >>> gathered.add(torch.ones(1, 4))
        >>> gathered.rows().sum(dim=1).tolist()
        [0.0, 0.0, 4.0]
    """

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
