"""How many rows of similarity matrices may be in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch

DEFAULT_MAX_BYTES = 2**28

# As many matrices exist at the peak of a forward and backward pass that keeps what it computes.
_MATRICES_AT_PEAK = 8
# More rows fall out of a CPU's caches; fewer make its matrix products slow.
_ROWS_IN_CACHE = 128


def check_max_bytes(max_bytes: int | None) -> None:
    """Raise unless ``max_bytes`` is a positive integer or None."""
    if max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer or None, got {max_bytes!r}")
    if max_bytes < 1:
        raise ValueError(
            f"max_bytes must be at least 1, got {max_bytes}: give the bytes that similarity "
            "matrices may take, or None for no limit"
        )


def rows_at_a_time(
    count: int, models: int, dtype: torch.dtype, device: torch.device, max_bytes: int | None
) -> int | None:
    """Rows of ``models`` similarity matrices of ``count`` images that fit; None if all do.

    At least one, whatever ``max_bytes`` says.
    """
    bytes_per_row = _MATRICES_AT_PEAK * models * count * dtype.itemsize
    if max_bytes is None or count * bytes_per_row <= max_bytes:
        return None
    rows = max(max_bytes // bytes_per_row, 1)
    return min(rows, _ROWS_IN_CACHE) if device.type == "cpu" else rows


def blocks(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many rows each, or fewer in the last."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))
