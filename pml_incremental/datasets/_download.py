"""Fetching a dataset's archives, checking them and unpacking them inside one folder."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import NamedTuple

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)


class Archive(NamedTuple):
    """A published archive."""

    url: str  # where it is
    filename: str  # what to call it here
    holds: tuple[str, ...]  # files and folders by which to tell that it has been unpacked
    md5: str | None = None  # its checksum, where the source publishes one

    def missing_from(self, root: Path) -> list[str]:
        """What it holds that is not under root."""
        return [name for name in self.holds if not (root / name).exists()]


def find_archives(root: Path, archives: Sequence[Archive], dataset: str, download: bool) -> None:
    """See to it that all archives are unpacked under root."""
    for archive in archives:
        if download and archive.missing_from(root):
            _refuse_part(root, archive)
            root.mkdir(parents=True, exist_ok=True)
            file = _download(root, archive)
            unpack(file, root)
            file.unlink()
    missing = [name for archive in archives for name in archive.missing_from(root)]
    if missing:
        raise ValueError(
            f"{dataset} is incomplete under {root}: {', '.join(missing)} missing; unpack the "
            "dataset there, or fetch it with --download on the command line or download=True"
        )


def unpack(archive: Path, root: Path) -> None:
    """Unpack a tar or zip archive, all of it or nothing.

    Members go to a folder of their own first, so that an interrupted call leaves no half dataset.
    """
    with TemporaryDirectory(dir=root, prefix=".unpacking-") as name:
        inside = Path(name)
        try:
            extract = _extract_zip if zipfile.is_zipfile(archive) else _extract_tar
            extract(archive, inside)
        except _DAMAGED as error:
            raise ValueError(f"{archive} is damaged: {error}; try again") from error
        entries = sorted(inside.iterdir())
        present = [entry.name for entry in entries if (root / entry.name).exists()]
        if present:
            raise ValueError(
                f"cannot unpack {archive}: {', '.join(present)} in {root} already; move it away"
            )
        for entry in entries:
            entry.rename(root / entry.name)


def _refuse_part(root: Path, archive: Archive) -> None:
    """Say before a long download that what it brings could not be unpacked."""
    tops = sorted({Path(name).parts[0] for name in archive.holds})
    present = [name for name in tops if (root / name).exists()]
    if present:
        raise ValueError(
            f"{root} has {', '.join(present)} but lacks {', '.join(archive.missing_from(root))}: "
            "move the existing files away before you download it again"
        )


def _download(root: Path, archive: Archive) -> Path:
    import torch
    from torchvision.datasets.utils import check_integrity

    file = root / archive.filename
    # An archive without a published checksum may be the half of an earlier attempt.
    if archive.md5 is None or not check_integrity(file, archive.md5):
        torch.hub.download_url_to_file(archive.url, str(file))
    if not check_integrity(file, archive.md5):
        file.unlink()
        raise ValueError(
            f"{archive.url} has another MD5 checksum than the published {archive.md5}: it was "
            "changed, or damaged on the way; nothing was unpacked"
        )
    return file


def _extract_zip(archive: Path, inside: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            _check_name(archive, name)
        zipped.extractall(inside)  # zipfile writes links as plain files


def _extract_tar(archive: Path, inside: Path) -> None:
    # Python 3.10.12 and 3.11.4 brought the filter; the checks here do not need it.
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as tar:
        for member in tar:
            _check_name(archive, member.name)
            if not (member.isfile() or member.isdir()):
                raise ValueError(
                    f"{archive} has {member.name!r}, a link or a device: such an archive cannot "
                    "be trusted, and nothing was unpacked"
                )
            tar.extract(member, inside, **options)  # type: ignore[arg-type]


def _check_name(archive: Path, name: str) -> None:
    path = PureWindowsPath(name)  # which splits at both kinds of slash
    if path.anchor or ".." in path.parts:
        raise ValueError(
            f"{archive} has {name!r}, which would be unpacked outside the folder: such an archive "
            "cannot be trusted, and nothing was unpacked"
        )
