"""Tensors in files, mapped into memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor


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
