"""A checkpoint that replaces the last one, and the one before it in case of need."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pml_incremental.storage.tensor_file import TensorFile, read_tensor_file, write_tensor_file
from pml_incremental.storage.whole_file import DamagedFileError, sync

logger = logging.getLogger(__name__)


def write_generation(path: Path, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Write a checkpoint; the last one is kept beside it as ``<name>.previous``.

    The last one is moved aside only when the new one has been read back and found right.

    Args:
        path: of the checkpoint.
        tensors: by name.
        state: values that JSON can hold.

    Raises:
        StorageError: if it cannot be written; what was there stays.
        DamagedFileError: if what is read back is not what was written; what was there stays.
    """
    coming = path.with_name(path.name + ".next")
    write_tensor_file(coming, tensors, state)
    if path.exists():
        os.replace(path, _previous(path))
    os.replace(coming, path)
    sync(path.parent)


def newest_readable(path: Path) -> TensorFile | None:
    """The newest checkpoint that is whole; None if there is none.

    A damaged one is named in a warning and the one before it is taken: it leads to the same result,
    only later.

    Args:
        path: that :func:`write_generation` was given.

    Example:
        >>> import tempfile
        >>> import torch
        >>> path = Path(tempfile.mkdtemp(), "checkpoint.safetensors")
        >>> for epoch in (1, 2):
        ...     write_generation(path, {"weight": torch.ones(1)}, epoch)
        >>> newest_readable(path).state
        2
        >>> _ = path.write_bytes(path.read_bytes()[:-1])
        >>> newest_readable(path).state
        1
    """
    for candidate in _candidates(path):
        if candidate.exists():
            try:
                return read_tensor_file(candidate, "what was saved before it is taken instead")
            except DamagedFileError as error:
                logger.warning("%s", error)
    return None


def remove_generations(path: Path) -> None:
    """Remove a checkpoint and those kept beside it."""
    for candidate in _candidates(path):
        candidate.unlink(missing_ok=True)


def _candidates(path: Path) -> tuple[Path, ...]:
    """Newest first; a ``.next`` is whole, and was to take the place of the others."""
    return path.with_name(path.name + ".next"), path, _previous(path)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")
