"""What can go wrong with files, in words that say what to do."""

from __future__ import annotations


class StorageError(OSError):
    """A file could not be written; what was there before is unchanged."""


class DamagedFileError(ValueError):
    """A file is not what was written: it was cut off, changed, or is of another kind."""


class InUseError(ValueError):
    """Another process is writing to the same place."""
