"""Several tensors as if they were one, without copying them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor


class Stacked:
    """Tensors of one width, one below the other; they may lie in memory or be mapped from files."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        shapes = [tuple(part.shape) for part in parts]
        widths = {shape[1:] for shape in shapes}
        if len(widths) != 1 or len(next(iter(widths))) != 1 or any(0 in shape for shape in shapes):
            shown = ", ".join(map(str, shapes))
            raise ValueError(f"embeddings must have shape (N, d), of one width, got {shown}")
        self.parts = tuple(parts)
        self.ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.parts[0].shape[1]

    @property
    def device(self) -> torch.device:
        """Where the first part is."""
        return self.parts[0].device

    def __getitem__(self, rows: range | Tensor) -> Tensor:
        """Some rows, by a range or by their numbers; a view where one part holds the range."""
        found = self._slice(rows) if isinstance(rows, range) else self._take(rows)
        return found if found.dtype in (torch.float32, torch.float64) else found.float()

    def _slice(self, rows: range) -> Tensor:
        cut = [
            part[max(0, rows.start - end + len(part)) : max(0, rows.stop - end + len(part))]
            for part, end in zip(self.parts, self.ends, strict=True)
        ]
        held = [piece for piece in cut if len(piece)]
        return held[0] if len(held) == 1 else torch.cat(held or cut[:1])

    def _take(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.device).contiguous()
        if len(self.parts) == 1:
            return self.parts[0][rows]
        dtype = torch.promote_types(self.parts[0].dtype, self.parts[-1].dtype)
        found = torch.empty(len(rows), self.width, dtype=dtype, device=self.device)
        holder = torch.bucketize(rows, torch.tensor(self.ends, device=self.device), right=True)
        for number in holder.unique().tolist():
            part, inside = self.parts[number], holder == number
            found[inside] = part[rows[inside] - self.ends[number] + len(part)].to(dtype)
        return found


def mapped_tensor(folder: str | Path, rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """A tensor on disk, of which the system keeps in memory what is in use and there is room for.

    Its file has no name any more, so that the room on the disk is free again once the tensor is
    gone, also after a crash.
    """
    size = rows * width
    name = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".embeddings", dir=folder)
        with open(handle, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
        tensor = torch.from_file(name, shared=True, size=size, dtype=dtype)
    except OSError as error:
        raise ValueError(
            f"cannot keep {size * dtype.itemsize} bytes of embeddings in {folder}: "
            f"{error.strerror}; choose another folder"
        ) from error
    finally:
        if name is not None:
            os.unlink(name)
    return tensor.view(rows, width)
