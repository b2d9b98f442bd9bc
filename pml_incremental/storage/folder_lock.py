"""A part of a folder that one process at a time may write to."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from pml_incremental.storage.whole_file import (
    InUseError,
    StorageError,
    explain_failure,
    host,
    is_alive,
)

# A killed process's data loading workers hold its lock until they notice, within 5 seconds.
_PATIENCE = 10.0


class FolderLock:
    """Held from entering to leaving a ``with`` block, or until the process ends in any way.

    The operating system keeps the lock, so that of a dead process is free at once, and nothing has
    to be cleared away. Beside it lies a file that says who holds it, for the message.

    Args:
        path: of the lock's file; made if missing, with its folder.
        what: the thing that is locked, for the message.

    Raises:
        InUseError: when entered, if another holds it, naming its process and machine.
        StorageError: when entered, if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "locks", "run.lock")
        >>> with FolderLock(path, "the run"), FolderLock(path.with_name("other.lock"), "another"):
        ...     pass
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what
        self._lock = FileLock(path)

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=_patience(read_owner(self.owner_file)))
            self.owner_file.write_text(json.dumps(_this_process()) + "\n", encoding="utf-8")
        except Timeout as error:
            raise InUseError(self._refusal(read_owner(self.owner_file))) from error
        except OSError as error:
            raise StorageError(explain_failure(self.path, error)) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self.owner_file.unlink(missing_ok=True)
        self._lock.release()

    @property
    def owner_file(self) -> Path:
        """Says who holds the lock."""
        return self.path.with_suffix(".owner.json")

    def _refusal(self, owner: dict[str, Any]) -> str:
        who = (
            f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
            if owner
            else "another process"
        )
        return (
            f"{self.what} is in use by {who}: two at once would damage each other's files; wait "
            "for it or stop it"
        )


def read_owner(path: Path) -> dict[str, Any]:
    """Who holds a lock: pid, host, since; empty if that is not known."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_owner = isinstance(owner, dict) and owner.keys() == _this_process().keys()
    return owner if is_owner and type(owner["pid"]) is int else {}


def _patience(owner: dict[str, Any]) -> float:
    """How long to wait: not at all, but for the last helpers of a process that is gone."""
    is_here = owner.get("host") == host()
    return _PATIENCE if is_here and not is_alive(owner["pid"]) else 0.0


def _this_process() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": host(), "since": since}
