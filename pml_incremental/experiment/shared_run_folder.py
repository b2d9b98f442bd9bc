"""A run's folder that one process of several reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from pml_incremental.distributed import Processes
from pml_incremental.experiment.run_folder import RunFolder


class SharedRunFolder(RunFolder):
    """The first process reads and writes and tells the others, which need not see the folder.

    All processes call the same methods in the same order. With one process it is a plain
    :class:`RunFolder`.

    Args:
        path: the folder; made if missing.
        config: the resolved config as plain values.
        processes: that share the run.

    Raises:
        ValueError: as :class:`RunFolder`, in the first process.
        FirstProcessError: in the others, here and in the methods.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], processes: Processes) -> None:
        self.path = path
        self.processes = processes
        processes.on_first(lambda: RunFolder.__init__(self, path, config))

    def file(self, name: str) -> Path:
        """The path of a file, with its parent folder made."""
        return self.processes.on_first(lambda: RunFolder.file(self, name))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.processes.on_first(lambda: RunFolder.has(self, name))

    @contextmanager
    def lock(self, part: str) -> Iterator[None]:
        """A lock on a folder in it, held by the first process for all."""
        with ExitStack() as held:
            self.processes.on_first(lambda: _enter(held, RunFolder.lock(self, part)))
            yield

    def write_text(self, name: str, text: str) -> Path:
        """Write a file whole or not at all."""
        return self.processes.on_first(lambda: RunFolder.write_text(self, name, text))

    def write_checked_json(self, name: str, values: Any) -> None:
        """Write plain values that the run goes on from, with a checksum."""
        self.processes.on_first(lambda: RunFolder.write_checked_json(self, name, values))

    def read_json(self, name: str) -> Any:
        """Read what either of them wrote; None if there is no such file."""
        return self.processes.on_first(lambda: RunFolder.read_json(self, name))

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], state: Any = None) -> None:
        """Write tensors, and plain values, as safetensors with a checksum, whole or not at all."""
        self.processes.on_first(lambda: RunFolder.write_tensors(self, name, tensors, state))

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read what :meth:`write_tensors` wrote."""
        return self.processes.on_first(lambda: RunFolder.read_tensors(self, name))


def _enter(held: ExitStack, lock: AbstractContextManager[Any]) -> None:
    held.enter_context(lock)
