"""Finding and reading the drawings of Omniglot, in folders or in zip files."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pml_incremental.datasets.image_files import UNREADABLE

PUBLISHED_SIZE = 105  # pixels, height and width
LAYOUT = "<alphabet>/<character>/<number>_<drawer>.png"

_NAME = re.compile(r"(?:.*/)?(?P<character>[^/]+/[^/]+)/\d+_(?P<drawer>\d+)\.png")
# Of a member of a zip file; RuntimeError if it is encrypted, NotImplementedError if it is
# compressed in a way that is not known here.
_UNREADABLE_MEMBER = (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error)


class Drawing(NamedTuple):
    """One character as one person drew it."""

    source: Path  # the folder or zip file that holds it
    name: str  # its path in there, with slashes
    character: str  # alphabet and character, such as ``Greek/character01``
    drawer: int  # the number of the person

    @property
    def path(self) -> Path:
        """Its file; in a zip file, the path of that file and then the one inside."""
        return self.source / self.name


def find_drawings(sources: Iterable[Path]) -> list[Drawing]:
    """The drawings of folders or zip files, in the order of their paths."""
    found: dict[str, Drawing] = {}
    for source in sources:
        matches = [match for name in _names_in(source) if (match := _NAME.fullmatch(name))]
        if not matches:
            raise ValueError(
                f"{source} holds no drawing of Omniglot ({LAYOUT}): give one of its files of "
                "images, such as images_background_small1.zip"
            )
        for match in matches:
            drawing = Drawing(source, match[0], match["character"], int(match["drawer"]))
            key = f"{drawing.character}/{drawing.path.name}"
            if key in found:
                raise ValueError(
                    f"{found[key].path} and {drawing.path} are the same drawing: leave out one of "
                    "the zip files, or one of the folders in it"
                )
            found[key] = drawing
    return sorted(found.values(), key=lambda drawing: drawing.path)


def read_drawings(drawings: Sequence[Drawing], image_size: int) -> NDArray[np.uint8]:
    """The pixels of drawings, black on white, shape (N, image_size, image_size)."""
    images = np.empty((len(drawings), image_size, image_size), dtype=np.uint8)
    for source in dict.fromkeys(drawing.source for drawing in drawings):
        with _reader_of(source) as read:
            for index, drawing in enumerate(drawings):
                if drawing.source == source:
                    images[index] = _decode(read, drawing, image_size)
    return images


def _names_in(source: Path) -> list[str]:
    if source.is_dir():
        return [path.relative_to(source).as_posix() for path in source.rglob("*.png")]
    with _open_zip(source) as archive:
        return archive.namelist()


@contextmanager
def _reader_of(source: Path) -> Iterator[Callable[[str], bytes]]:
    if source.is_dir():
        yield lambda name: (source / name).read_bytes()
    else:
        with _open_zip(source) as archive:
            yield archive.read


def _open_zip(path: Path) -> ZipFile:
    try:
        return ZipFile(path)
    except FileNotFoundError as error:
        raise ValueError(
            f"there is no zip file {path}: get Omniglot's images from the authors' repository "
            "(brendenlake/omniglot, folder python), and give root the path of the zip file"
        ) from error
    except BadZipFile as error:
        raise ValueError(f"{path} is not a whole zip file ({error}): get it anew") from error


def _decode(read: Callable[[str], bytes], drawing: Drawing, image_size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(read(drawing.name)), formats=["PNG"]) as image:
            if image.size != (PUBLISHED_SIZE, PUBLISHED_SIZE):
                raise ValueError(
                    f"it has {image.width} x {image.height} pixels, not the published "
                    f"{PUBLISHED_SIZE} x {PUBLISHED_SIZE}"
                )
            grey = image.convert("L")
    except (*UNREADABLE, *_UNREADABLE_MEMBER) as error:
        what = "it holds no PNG" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"cannot read the drawing {drawing.path}: {what}; get {drawing.source} anew"
        ) from error
    return np.asarray(grey.resize((image_size, image_size), Image.Resampling.BILINEAR))
