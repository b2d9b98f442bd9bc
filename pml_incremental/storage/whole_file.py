"""Writing a file whole or not at all, and JSON that notices damage."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

FORMAT = 1
_KEYS = {"format", "sha256", "values"}

_SUFFIX = ".part"
_LEFTOVER = re.compile(rf"\.(?P<host>[^.]+)\.(?P<pid>\d+){re.escape(_SUFFIX)}$")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file or folder beside its place, see that it is on the disk, and move it there.

    Whatever happens meanwhile, also a crash of the machine, the place holds the old file or the new
    one, whole.

    Args:
        target: the place, not yet there if it is to be a folder; its folder is made if missing.
        write: writes, and may read back, what belongs at the path that it is given; in a folder, it
            has to :func:`sync` each file.

    Raises:
        StorageError: if the disk is full, the folder is read-only or the like; the old file stays.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "new", "file.txt")
        >>> write_whole(target, lambda path: path.write_text("done"))
        >>> target.read_text(), [path.name for path in target.parent.iterdir()]
        ('done', ['file.txt'])
    """
    # A temporary file of this process's own: others may be writing to the same folder.
    part = target.with_name(f"{target.name}.{host()}.{os.getpid()}{_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        sync(part)
        os.replace(part, target)
        sync(target.parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(explain_failure(target, error)) from error
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write_text_whole(target: Path, text: str) -> None:
    """Write a text file with :func:`write_whole`, in UTF-8."""
    write_whole(target, lambda path: path.write_text(text, encoding="utf-8"))


def sync(path: Path) -> None:
    """Wait until a file's contents, or a folder's names, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine, which were killed, had not finished writing.

    Args:
        folder: looked at with all folders in it.
    """
    for path in folder.rglob(f"*{_SUFFIX}"):
        _remove_if_left_over(path)


def remove_leftovers_of(target: Path) -> None:
    """Remove what killed processes of this machine had written of one file or folder."""
    for path in target.parent.glob(f"{glob.escape(target.name)}.*{_SUFFIX}"):
        _remove_if_left_over(path)


def _remove_if_left_over(path: Path) -> None:
    found = _LEFTOVER.search(path.name)
    if found is not None and found["host"] == host() and not is_alive(int(found["pid"])):
        _remove(path)


def is_leftover(path: Path) -> bool:
    """Whether a file was being written by :func:`write_whole`."""
    return _LEFTOVER.search(path.name) is not None


def explain_failure(target: Path, error: Exception) -> str:
    """What happened to a file that could not be written, and what to do."""
    number = _error_number(error)
    if number in _FULL:
        what = "the disk is full, or a limit on the size of files is reached; make room"
    elif number in _FORBIDDEN:
        what = "it is not allowed; make the folder writable, or choose another"
    elif number == errno.ENOTEMPTY:  # a folder can only take the place of an empty one
        what = "another process has written it meanwhile; choose another name"
    else:
        what = "see the reason"
    reason = os.strerror(number) if number is not None else str(error)
    return f"cannot write {target}: {reason}: {what}. What was there before is unchanged"


def _error_number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os error (\d+)", str(error))  # safetensors gives it in words alone
    return int(found[1]) if found else None


def host() -> str:
    """This machine's name, as file names can hold it."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())


def is_alive(pid: int) -> bool:
    """Whether a process of this machine may still run."""
    if os.name == "nt":  # where os.kill with 0 does not ask but interrupt
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


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


def write_checked_json(path: Path, values: Any) -> None:
    """Write ``{"format": 1, "sha256": ..., "values": ...}``, whole or not at all.

    Args:
        path: of the file.
        values: what JSON can hold.

    Raises:
        StorageError: if it cannot be written.
    """
    content = {"format": FORMAT, "sha256": _digest(values), "values": values}
    write_text_whole(path, json.dumps(content, indent=2) + "\n")


def read_checked_json(path: Path, remedy: str) -> Any:
    """Read what :func:`write_checked_json` wrote.

    JSON of another form comes back as it is: versions before the format wrote it so.

    Args:
        path: of the file.
        remedy: what to do about a damaged file, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is not what was written, naming it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error, remedy) from error
    if not isinstance(content, dict) or not _KEYS & content.keys():
        return content
    if content.keys() != _KEYS:
        raise damaged(path, "its keys are not those written", remedy)
    check_format(content["format"], FORMAT, path, remedy)
    if _digest(content["values"]) != content["sha256"]:
        raise damaged(path, "it fails its checksum", remedy)
    return content["values"]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
