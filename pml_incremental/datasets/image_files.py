"""Reading image files, and finding those that cannot be read."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from pml_incremental.datasets.color_profiles import to_srgb
from pml_incremental.datasets.lazy_jpeg import DecodedImages, LazyJpeg
from pml_incremental.wording import first_lines

logger = logging.getLogger(__name__)

OnBadImage = Literal["raise", "skip"]
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
# Files of other formats are not given to Pillow's readers of those, whatever their names say.
FORMATS = ("JPEG", "PNG", "WEBP")
JPEG = ("JPEG", "MPO")  # the second as some phones write it
WHITE = "white"  # what transparent images are drawn on by default
_WITH_ALPHA = ("RGBA", "LA", "PA")
TWELVE_BITS = 4096
_LEVELS_OF_FEW_BITS = {"L;2": 85, "L;4": 17}  # what one step of a PNG of so few bits becomes
LONGEST = 1_000_000  # pixels of a side; Pillow takes memory for each row, however short
_PIXELS_AT_ONCE = 1 << 22
#: JPEGs that this process has decoded: some 300 that were shrunk, or photos of 500 x 375.
decoded_images = DecodedImages(most_bytes=1 << 28, largest=1 << 22)
_PNG_BEGINS = b"\x89PNG\r\n\x1a\n"
MANY_IMAGES = 500  # fewer are checked too quickly for a progress bar

# What Pillow's readers of pixels and of EXIF raise on randomly damaged files.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)


def checked_color(name: str) -> str:
    """A colour that Pillow knows; ValueError for other names."""
    try:
        ImageColor.getrgb(name)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"background must be a colour such as white, black or '#808080', got {name!r}"
        ) from error
    return name


def read_rgb(path: Path, background: str = WHITE) -> Image.Image:
    """An image as people see it: RGB, upright by its EXIF orientation, drawn on a colour.

    JPEG files are parsed but not decoded yet, see :class:`LazyJpeg`.

    Raises:
        ValueError: naming the file, if it cannot be read; of a JPEG perhaps only when it is used.
    """
    image = _read(path)
    return image if isinstance(image, LazyJpeg) else to_rgb(image, background)


def _read(path: Path) -> Image.Image:
    """An upright image, perhaps not in RGB; of a JPEG what decodes it."""
    with _named(path):
        stamp, content = _stamp(path), path.read_bytes()
        image = Image.open(BytesIO(content), formats=FORMATS)
        _check(image, path)
        if image.format in JPEG:
            return LazyJpeg(image, cache(partial(_decode_once, path, stamp, content, image)))
        if image.format == "PNG":
            _check_parts(content)
        _scale_transparent_level(image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def _decode_once(
    path: Path, stamp: tuple[int, int], content: bytes, opened: Image.Image, n: int
) -> Image.Image:
    """What :func:`_decode_jpeg` gives, kept for the next time that the file is read."""
    decode = partial(_decode_jpeg, path, content, opened, n)
    return decoded_images.get((path, stamp, n), decode)


def _decode_jpeg(path: Path, content: bytes, opened: Image.Image, n: int) -> Image.Image:
    """The upright image of a JPEG in sRGB, of 1/n of its width and height, rounded up."""
    with _named(path):
        # What was opened can be decoded once, and then has no tile left.
        is_fresh = bool(getattr(opened, "tile", None))
        image = opened if is_fresh else Image.open(BytesIO(content), formats=FORMATS)
        if n > 1:
            image.draft(None, (max(image.width // n, 1), max(image.height // n, 1)))
        ImageOps.exif_transpose(image, in_place=True)
        shown = to_srgb(image)
        return shown if shown.mode == "RGB" else shown.convert("RGB")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise a ValueError that names the file instead of what Pillow raises."""
    try:
        yield
    except UnidentifiedImageError as error:
        what = "is empty" if path.stat().st_size == 0 else f"holds no {', '.join(FORMATS)}"
        raise ValueError(f"cannot read the image {path}: it {what}") from error
    except UNREADABLE as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def to_rgb(image: Image.Image, background: str = WHITE) -> Image.Image:
    """What a viewer shows of an image, with 8 bits a channel.

    Pillow's own conversion clips 16 bits to the 255 darkest of their 65,536 levels, shows the
    colours of what is transparent, which nobody has seen, and takes all colours for those of sRGB.
    """
    if image.mode.startswith("I"):
        image = _of_eight_bits(image)
    image = to_srgb(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _drawn_on(ImageColor.getrgb(background)[:3], image)
    return image.convert("RGB")


def _drawn_on(color: tuple[int, ...], image: Image.Image) -> Image.Image:
    """A transparent image on a colour; part by part, as copies of a large one take gigabytes."""
    shown = Image.new("RGB", image.size)
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        page = Image.new("RGBA", part.size, color)
        shown.paste(Image.alpha_composite(page, part).convert("RGB"), (0, top))
    return shown


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits with 8, and what is transparent in it."""
    levels, seen_through = np.asarray(image), image.info.get("transparency")
    # A table, as 64-bit floats of a large image would take gigabytes.
    rounded = np.rint(np.arange(1 << 16) / 257).astype(np.uint8)
    grey = Image.fromarray(rounded[levels.clip(0, len(rounded) - 1)])
    if seen_through is not None:
        opaque = np.where(levels == seen_through, np.uint8(0), np.uint8(255))
        grey.putalpha(Image.fromarray(opaque))
    if "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey


def _scale_transparent_level(image: Image.Image) -> None:
    """Bring the colour that a PNG names as transparent to the 8 bits that Pillow reads it in.

    Of 16 bits Pillow keeps the upper 8, so that colours near the transparent one count as it.
    """
    level = image.info.get("transparency")
    if isinstance(level, tuple) and max(level) > 255:
        image.info["transparency"] = tuple(part >> 8 for part in level)
    elif isinstance(level, int) and image.mode == "L":
        tile = getattr(image, "tile", None)  # what is still to be decoded, and how
        stored = str(tile[0][3]) if tile else ""
        image.info["transparency"] = level * _LEVELS_OF_FEW_BITS.get(stored, 1)


def _check(image: Image.Image, path: Path) -> None:
    """Refuse, before its pixels are read, what is too large or not what its name says."""
    if max(image.size) > LONGEST:
        raise ValueError(f"it is {image.width} x {image.height} pixels, and {LONGEST} is the most")
    largest = Image.MAX_IMAGE_PIXELS
    if largest is not None and image.width * image.height > largest:
        raise ValueError(
            f"it would have {image.width} x {image.height} pixels, more than {largest} "
            "(PIL.Image.MAX_IMAGE_PIXELS): a decompression bomb?"
        )
    kind = "JPEG" if image.format in JPEG else image.format
    if kind != SUFFIXES.get(path.suffix.lower()):
        raise ValueError(f"it holds a {image.format} and not what its name says; rename it")


def _check_parts(content: bytes) -> None:
    """Raise if the pixels of a PNG are not those of its checksums, which Pillow does not look at.

    What comes after the pixels, or is cut there, changes nothing.
    """
    file, place = memoryview(content), len(_PNG_BEGINS)
    while place + 8 <= len(file):
        size, kind = struct.unpack_from(">I4s", file, place)
        end = place + 8 + size
        checksum = int.from_bytes(file[end : end + 4], "big")
        if kind == b"IDAT" and zlib.crc32(file[place + 4 : end]) != checksum:
            raise ValueError("its pixels fail their checksum: it is damaged")
        place = end + 4


def find_bad_images(
    paths: Sequence[Path], on_bad_image: OnBadImage, progress: bool = True
) -> list[Path]:
    """The files to leave out because they cannot be read; decodes them all."""
    if on_bad_image not in get_args(OnBadImage):
        raise ValueError(f'on_bad_image must be "raise" or "skip", got {on_bad_image!r}')
    _, bad = look_at_images(paths, progress)
    refuse_bad_images(bad, on_bad_image)
    return list(bad)


def refuse_bad_images(bad: Mapping[Path, str], on_bad_image: OnBadImage) -> None:
    """Raise a ValueError about files that cannot be read or, if they are to be skipped, say so."""
    if bad and on_bad_image == "raise":
        raise ValueError(_unreadable_message(list(bad.values())))
    if bad:
        logger.warning("images left out: %d\n%s", len(bad), "\n".join(bad.values()))


def look_at_images(
    paths: Sequence[Path], progress: bool = True
) -> tuple[dict[Path, tuple[int, int]], dict[Path, str]]:
    """Width and height of each whole image, and what is wrong with the other files."""
    unseen = [path for path in paths if not _is_known(path)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        errors = tqdm(
            pool.map(_look, unseen),
            desc="checking images",
            unit="image",
            total=len(unseen),
            leave=False,
            disable=not progress or len(unseen) < MANY_IMAGES,
        )
        bad = {path: error for path, error in zip(unseen, errors, strict=True) if error}
    good = {path: known_looks[path] for path in paths if path not in bad}
    if any(good[path].deepest is not None for path in unseen if path in good):
        _warn_of_twelve_bits([look.deepest for look in good.values()])
    return {path: look.size for path, look in good.items()}, bad


class Look(NamedTuple):
    """What was found in a whole image file."""

    stamp: tuple[int, int]  # of the file, which changes with its contents
    size: tuple[int, int]  # width and height
    deepest: int | None  # the largest value of a 16-bit image


#: Files that this process, or the one that started it, has found whole: none is decoded twice.
known_looks: dict[Path, Look] = {}


def _is_known(path: Path) -> bool:
    look = known_looks.get(path)
    return look is not None and path.is_file() and look.stamp == _stamp(path)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _look(path: Path) -> str:
    """Keep what is found in a file, and return what is wrong with it, if something is."""
    try:
        known_looks[path] = _look_at(_read(path), _stamp(path))
    except ValueError as error:
        return str(error)
    return ""


def _look_at(image: Image.Image, stamp: tuple[int, int]) -> Look:
    if isinstance(image, LazyJpeg):
        image.verify()
        return Look(stamp, image.size, None)
    deepest = int(np.asarray(image).max()) if image.mode.startswith("I") else None
    return Look(stamp, to_rgb(image).size, deepest)


def _warn_of_twelve_bits(deepest: Sequence[int | None]) -> None:
    """Say that 16-bit images look like 12-bit ones, which cannot be told from dark ones."""
    known = [value for value in deepest if value is not None]
    if known and max(known) < TWELVE_BITS:
        logger.warning(
            "16-bit images: %d; no value is above %d of 65535, so they are read as nearly "
            "black. If they have 12 bits, multiply their values by 16 first",
            len(known),
            max(known),
        )


def _unreadable_message(messages: Sequence[str]) -> str:
    return "\n".join(
        [
            f"images that cannot be read: {len(messages)}; repair, remove or leave them out: "
            "on the command line with --skip-bad-images, in a config with on_bad_image: skip",
            *first_lines(messages),
        ]
    )
