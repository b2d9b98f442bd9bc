"""Omniglot: handwritten characters."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pml_incremental.datasets._base import (
    ImagesInMemory,
    check_at_least,
    labels_by_group,
    number_classes,
)
from pml_incremental.datasets.image_files import UNREADABLE
from pml_incremental.datasets.torchvision_sets import build_parts

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
        raise ValueError(
            f"{path} is not a complete zip file ({error}): download it again"
        ) from error


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
        what = "it is not a PNG" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"cannot read the drawing {drawing.path}: {what}; download {drawing.source} again"
        ) from error
    return np.asarray(grey.resize((image_size, image_size), Image.Resampling.BILINEAR))


MIN_IMAGE_SIZE = 8


class Omniglot(ImagesInMemory):
    """Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people.

    Read from the folder that torchvision's class of the same name makes, whose two sides share no
    alphabet and are both taken; or from the published zip files, which are not unpacked. An
    alphabet is a natural task. Drawings are read once and kept in memory: 11 kB each, or 1 kB at
    32 x 32 pixels.

    The source holds out no images of a character. With ``test_drawers`` the drawings of some people
    are held out; without, there is no ``test_mask`` and a scenario holds images out itself. The
    drawers of two alphabets need not be the same people, even if their numbers are.

    Source: Lake et al., Science 350, 2015.

    Args:
        root: the folder that holds ``omniglot-py``, with its zip files still there; or a zip file
            of images as published, such as ``images_background_small1.zip``, or a list of them.
        transform: called with each PIL image (mode "L", dark ink on white unless ``invert``); by
            default the image is returned as is.
        download: fetch the dataset (16 MB) if it is not there. Zip files are not fetched.
        train_drawers: the numbers, from 1 to 20, of the people whose drawings to train on; by
            default those of all who are not in ``test_drawers``. Drawings of people in neither are
            left out.
        test_drawers: the numbers of the people whose drawings are the held-out test images.
        image_size: height and width in pixels, at least 8, to which drawings are resized (bilinear,
            antialiased) when they are read.
        invert: make ink light on dark, as that of ``Glyphs`` is.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the name of each class, such as ``Greek/character01``.
        class_groups: the labels of each alphabet, alphabets in alphabetical order.
        test_mask: True for the images of ``test_drawers``, shape (N,); None without.
        drawers: the number of the person who drew each image, int64, shape (N,).
        paths: the file of each image; in a zip file, the path of that file and then the one inside.

    Raises:
        ValueError: if the dataset is not whole, or a download is not what was published; if a zip
            file or a drawing in it is missing, damaged or there twice; if a drawer does not occur,
            is in both lists, or nothing is left to train on.

    Example:
        >>> import io, tempfile, zipfile
        >>> from PIL import Image
        >>> png = io.BytesIO()
        >>> Image.new("1", (105, 105), 1).save(png, "PNG")
        >>> path = Path(tempfile.mkdtemp(), "images_background_small1.zip")
        >>> with zipfile.ZipFile(path, "w") as file:
        ...     for drawer in ("01", "02"):
        ...         name = f"images_background_small1/Greek/character01/0394_{drawer}.png"
        ...         file.writestr(name, png.getvalue())
        >>> dataset = Omniglot(path, test_drawers=[2], image_size=32)
        >>> dataset.classes, dataset.labels.tolist(), dataset.test_mask.tolist()
        (['Greek/character01'], [0, 0], [False, True])
        >>> dataset[0][0].size
        (32, 32)
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
        train_drawers: Sequence[int] | None = None,
        test_drawers: Sequence[int] | None = None,
        image_size: int = PUBLISHED_SIZE,
        invert: bool = False,
    ) -> None:
        check_at_least("image_size", image_size, MIN_IMAGE_SIZE)
        every = find_drawings(_zip_files(root) or _folders(root, download))
        numbers = np.asarray([drawing.drawer for drawing in every], dtype=np.int64)
        is_taken, is_test = split_drawers(numbers, train_drawers, test_drawers)
        taken = [every[index] for index in np.flatnonzero(is_taken)]
        self.classes, self.labels = number_classes([drawing.character for drawing in taken])
        self.class_groups = labels_by_group(self.classes)
        self.test_mask = None if is_test is None else is_test[is_taken]
        self.drawers = numbers[is_taken]
        self.paths = [drawing.path for drawing in taken]
        self.transform = transform
        images = read_drawings(taken, image_size)
        self._images = np.invert(images) if invert else images

    def image_name(self, index: int) -> str:
        """The file of an image."""
        return str(self.paths[index])


def _zip_files(root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The zip files that root names; none if it is a folder."""
    if not isinstance(root, (str, os.PathLike)):
        files = [Path(file) for file in root]
        wrong = [file for file in files if file.is_dir()]
        if wrong or not files:
            raise ValueError(
                f"root must list zip files, got {f'the folder {wrong[0]}' if wrong else 'none'}: "
                "give files such as images_background.zip, or one folder and no list"
            )
        return files
    path = Path(root)
    is_file = path.is_file() or (path.suffix.lower() == ".zip" and not path.is_dir())
    return [path] if is_file else []


def _folders(root: Any, download: bool) -> list[Path]:
    """The folder that holds both sides as torchvision unpacks them."""
    from torchvision import datasets

    sides = [{"background": True}, {"background": False}]
    parts = build_parts(datasets.Omniglot, root, download, sides)
    return [Path(part.target_folder) for part in parts]


def split_drawers(
    drawers: NDArray[np.int64], train: Sequence[int] | None, test: Sequence[int] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Which drawings are taken, and which of all are test images."""
    for name, numbers in (("train_drawers", train), ("test_drawers", test)):
        if numbers is not None:
            _check_drawers(name, numbers, np.unique(drawers).tolist())
    both = sorted({*(train or ())} & {*(test or ())})
    if both:
        raise ValueError(
            f"train_drawers and test_drawers both name {_listed(both)}: leave each to one of them"
        )
    is_test = np.isin(drawers, [] if test is None else list(test))
    is_train = ~is_test if train is None else np.isin(drawers, list(train))
    if not is_train.any():
        raise ValueError(
            "test_drawers names every drawer: no image is left to train on; name fewer"
        )
    return is_train | is_test, None if test is None else is_test


def _check_drawers(name: str, numbers: Sequence[int], occurring: list[int]) -> None:
    is_list = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    if not is_list or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise TypeError(f"{name} must be a list of integers, such as [15, 16], got {numbers!r}")
    absent = [number for number in numbers if number not in occurring]
    if absent or not numbers:
        raise ValueError(
            f"{name} must name drawers, got {_listed(absent) or 'none'}; there are "
            f"{_listed(occurring)}"
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
