"""A process that loads images was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DataLoadingError(ChildProcessError):
    """A process that loads images is gone; the weights are those of before the iteration."""


@contextmanager
def named_loading_errors() -> Iterator[None]:
    """Say what to do if a loading process dies; torch raises that anywhere in the main process.

    Raises:
        DataLoadingError: in place of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataLoadingError(
            f"a process that loads images was killed, often for want of memory: {error}. Use "
            "fewer (dataloader_num_workers) or smaller batches, and start again"
        ) from error
