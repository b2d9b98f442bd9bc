"""What can go wrong with files, in words that say what to do."""

from __future__ import annotations

from pathlib import Path


class StorageError(OSError):
    """A file could not be written; what was there before is unchanged."""


class DamagedFileError(ValueError):
    """A file is not what was written: it was cut off, changed, or is of another kind."""


class InUseError(ValueError):
    """Another process is writing to the same place."""


def damaged(path: Path, why: object, remedy: str) -> DamagedFileError:
    """The error about a file that is not what was written."""
    return DamagedFileError(f"{path} is damaged: {why}; {remedy}")


def check_format(found: object, expected: object, path: Path, remedy: str) -> None:
    """Raise :class:`DamagedFileError` unless a file says that it has the format we read."""
    if found != expected:
        raise DamagedFileError(
            f"{path} has format {found!r}, and this version reads {expected}: it was written by "
            f"a newer version, or is damaged; {remedy}"
        )
