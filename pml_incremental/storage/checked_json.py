"""Plain values as JSON that notices damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pml_incremental.storage.whole_file import check_format, damaged, write_text_whole

FORMAT = 1
_KEYS = {"format", "sha256", "values"}


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
