"""Images of Unicode characters in the font faces that matplotlib ships."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pml_incremental.datasets._base import ImagesInMemory, check_at_least

# One face of each family, so that every character which 8 faces draw has at least 2 test images.
TEST_FACES = (
    "DejaVuSans-Oblique",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-BoldOblique",
    "STIXGeneralItalic",
)
TRAIN_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
)
# The other files draw something else than the character they claim (the Computer Modern faces have
# TeX's encodings, the last-resort face a box for everything) or hold no text (STIX sizes).
FACES = TEST_FACES + TRAIN_FACES

EM_TO_IMAGE = 0.75  # capitals then fill about half of the image, accents and wide letters fit
MARGIN_TO_IMAGE = 1 / 16


def draw_glyph(character: str, face: str, image_size: int) -> NDArray[np.uint8]:
    """A character in white on black, centred, shape (image_size, image_size).

    All characters of a face have one em size, so that o is smaller than O; only those that would
    not fit are drawn smaller.
    """
    font, (left, top, right, bottom) = _fitting_font(character, face, image_size)
    image = Image.new("L", (image_size, image_size))
    corner = (
        (image_size - (right - left)) // 2 - left,
        (image_size - (bottom - top)) // 2 - top,
    )
    ImageDraw.Draw(image).text(corner, character, fill=255, font=font)
    return np.asarray(image)


def _fitting_font(
    character: str, face: str, image_size: int
) -> tuple[ImageFont.FreeTypeFont, tuple[int, int, int, int]]:
    """The largest font up to the common em size that fits, and the character's box in it."""
    limit = image_size - 2 * max(1, round(image_size * MARGIN_TO_IMAGE))
    size = round(image_size * EM_TO_IMAGE)
    while True:
        font = _font(face, size)
        left, top, right, bottom = map(int, font.getbbox(character))
        extent = max(right - left, bottom - top)
        if extent <= limit:
            return font, (left, top, right, bottom)
        size = min(size - 1, size * limit // extent)


@lru_cache(maxsize=128)
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout engine is in every build of Pillow, so images are the same everywhere.
    return ImageFont.truetype(str(face_path(face)), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def face_path(face: str) -> Path:
    """The file of a face."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    if not path.is_file():
        raise FileNotFoundError(
            f"the font file {path} is missing, though matplotlib ships it: reinstall matplotlib "
            "from PyPI"
        )
    return path


@cache
def code_points(face: str) -> frozenset[int]:
    """The code points that a face has a glyph for, by its own character map."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(face_path(face))).get_charmap())


def faces_drawing(character: str) -> tuple[str, ...]:
    """The faces that have a glyph for a character, test faces first."""
    return tuple(face for face in FACES if ord(character) in code_points(face))


class CodeRange(NamedTuple):
    """A range of code points, both ends included, or the letters in it."""

    first: int
    last: int
    letters_only: bool


SCRIPTS = {
    "latin": CodeRange(0x0041, 0x024F, letters_only=True),
    "greek": CodeRange(0x0370, 0x03FF, letters_only=True),
    "cyrillic": CodeRange(0x0400, 0x052F, letters_only=True),
    "armenian": CodeRange(0x0530, 0x058F, letters_only=True),
    "georgian": CodeRange(0x10A0, 0x10FF, letters_only=True),
    "math": CodeRange(0x2200, 0x22FF, letters_only=False),
    "arrows": CodeRange(0x2190, 0x21FF, letters_only=False),
    "shapes": CodeRange(0x25A0, 0x25FF, letters_only=False),
}


def characters(script: str) -> list[str]:
    """The characters of a script in the order of their code points."""
    first, last, letters_only = SCRIPTS[script]
    codes = map(chr, range(first, last + 1))
    return [c for c in codes if not letters_only or unicodedata.category(c).startswith("L")]


def check_scripts(scripts: tuple[str, ...]) -> None:
    """Raise unless ``scripts`` names at least one known script, and none twice."""
    known = ", ".join(SCRIPTS)
    if not scripts:
        raise ValueError(f"scripts is empty: name at least one of {known}")
    for script in scripts:
        if script not in SCRIPTS:
            raise ValueError(f"scripts contains {script!r}, which is not one of {known}")
    if len(set(scripts)) < len(scripts):
        raise ValueError(f"scripts names a script twice: {', '.join(scripts)}")


MIN_FACES = 8
MIN_TEST_IMAGES = MIN_TRAIN_IMAGES = 2
COMPARED_SIZE = 32  # whatever the images' own size, so that the classes do not depend on it
SAME_DRAWING = 0.05

MIN_IMAGE_SIZE = 8


class Glyphs(ImagesInMemory):
    """Characters as classes, font faces as the images of a class, scripts as natural tasks.

    Needs no download: the images are drawn once, in a second or two, and kept in memory. They are
    white on black and centred, at one em size. A character is a class if at least 8 of the 16
    text faces of the DejaVu and STIX families draw it, by their own character maps. Drawings that
    repeat another face's (most oblique symbols repeat the upright ones) are left out, and then
    characters with fewer than 2 test or 2 training images.

    The held-out test images are those in DejaVu Sans Oblique, DejaVu Serif Bold, DejaVu Sans Mono
    Bold Oblique and STIX General Italic; no training image is in one of these.

    Args:
        scripts: some of latin, greek, cyrillic, armenian, georgian, math, arrows, shapes; all by
            default. Each becomes a group of classes, in this order. (Few shapes are drawn
            differently in enough faces: that script has about a dozen classes.)
        image_size: height and width in pixels, at least 8.
        max_classes_per_script: how many classes to take of each script, evenly spaced over it;
            all by default.
        drop_homoglyphs: leave out a character that some face draws exactly as an earlier character
            (Greek Alpha, when Latin is there too), for its images would belong to two classes.
        transform: called with each PIL image (mode "L"); by default the image is returned as is.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the character of each class.
        class_groups: the labels of each script.
        test_mask: True for the test images, shape (N,).
        faces: the name of the face of each image.
        left_out: for each character that is no class for the reasons above, the reason.

    Raises:
        ValueError: if a script is unknown or named twice, or a number is too small.
        FileNotFoundError: if matplotlib's installation lacks a font file.

    Example:
        >>> glyphs = Glyphs(scripts=("armenian", "georgian"), max_classes_per_script=4)
        >>> glyphs.classes
        ['Ա', 'Մ', 'ա', 'մ', 'Ⴀ', 'Ⴔ', 'დ', 'ყ']
        >>> glyphs.class_groups
        [[0, 1, 2, 3], [4, 5, 6, 7]]
        >>> image, label = glyphs[0]
        >>> image.size, label, glyphs.image_name(0)
        ((32, 32), 0, 'U+0531 in DejaVuSans-Oblique')
    """

    def __init__(
        self,
        scripts: Sequence[str] = tuple(SCRIPTS),
        image_size: int = 32,
        max_classes_per_script: int | None = None,
        drop_homoglyphs: bool = True,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.scripts = (scripts,) if isinstance(scripts, str) else tuple(scripts)
        check_scripts(self.scripts)
        check_at_least("image_size", image_size, MIN_IMAGE_SIZE)
        if max_classes_per_script is not None:
            check_at_least("max_classes_per_script", max_classes_per_script, 1)
        candidates, self.left_out = glyph_classes(self.scripts, drop_homoglyphs)
        groups = [evenly_spaced(group, max_classes_per_script) for group in candidates]
        chosen = [glyph for group in groups for glyph in group]
        self.classes = [glyph.character for glyph in chosen]
        self.class_groups = _consecutive_labels(groups)
        self.faces = [face for glyph in chosen for face in glyph.faces]
        self.labels = np.repeat(
            np.arange(len(chosen), dtype=np.int64), [len(glyph.faces) for glyph in chosen]
        )
        self.test_mask = np.isin(self.faces, TEST_FACES)
        self.transform = transform
        self._images = self._draw(image_size)

    def image_name(self, index: int) -> str:
        """The character and the face of an image, such as ``U+0041 in DejaVuSans``."""
        return f"U+{ord(self.classes[self.labels[index]]):04X} in {self.faces[index]}"

    def _draw(self, image_size: int) -> NDArray[np.uint8]:
        characters = [self.classes[label] for label in self.labels]
        pairs = zip(characters, self.faces, strict=True)
        return np.stack([draw_glyph(character, face, image_size) for character, face in pairs])


def _consecutive_labels(groups: list[list[GlyphClass]]) -> list[list[int]]:
    ends = np.cumsum([len(group) for group in groups]).tolist()
    return [list(range(e - len(group), e)) for group, e in zip(groups, ends, strict=True)]


class GlyphClass(NamedTuple):
    """A character and the faces whose drawings of it differ from one another."""

    character: str
    faces: tuple[str, ...]


def glyph_classes(
    scripts: tuple[str, ...], drop_homoglyphs: bool
) -> tuple[list[list[GlyphClass]], dict[str, str]]:
    """The classes of each script, and why each other candidate is left out."""
    groups: list[list[GlyphClass]] = []
    left_out: dict[str, str] = {}
    owners: dict[tuple[str, bytes], str] = {}
    for script in scripts:
        groups.append([])
        for character in characters(script):
            drawings = drawings_by_face(character)
            if len(drawings) < MIN_FACES:
                continue
            faces = distinct_faces(drawings)
            reason = _too_few(faces)
            if reason is None and drop_homoglyphs:
                reason = _homoglyph(drawings, owners)
            if reason is not None:
                left_out[character] = reason
                continue
            owners.update({(f, image.tobytes()): character for f, image in drawings.items()})
            groups[-1].append(GlyphClass(character, faces))
    return groups, left_out


def drawings_by_face(character: str) -> dict[str, NDArray[np.uint8]]:
    """A character's image in each face that draws it, blank ones left out; test faces first."""
    faces = faces_drawing(character)
    if len(faces) < MIN_FACES:
        return {}
    drawings = {face: draw_glyph(character, face, COMPARED_SIZE) for face in faces}
    return {face: image for face, image in drawings.items() if image.any()}


def distinct_faces(drawings: dict[str, NDArray[np.uint8]]) -> tuple[str, ...]:
    """The faces whose drawing does not repeat that of an earlier face.

    An oblique face often has the upright symbols: the same image would be in training and test.
    """
    faces = tuple(drawings)
    ink = np.stack([drawings[face].ravel() for face in faces]).astype(np.int32)
    difference = np.abs(ink[:, None] - ink).sum(axis=-1)
    total = ink.sum(axis=-1)
    same = difference <= SAME_DRAWING * np.maximum(total[:, None], total)
    kept: list[int] = []
    for index in range(len(faces)):
        if not same[index, kept].any():
            kept.append(index)
    return tuple(faces[index] for index in kept)


def evenly_spaced(classes: list[GlyphClass], count: int | None) -> list[GlyphClass]:
    """At most ``count`` of the classes, spread over the whole script."""
    if count is None or len(classes) <= count:
        return classes
    return [classes[i * len(classes) // count] for i in range(count)]


def _too_few(faces: tuple[str, ...]) -> str | None:
    n_test = sum(face in TEST_FACES for face in faces)
    n_train = len(faces) - n_test
    if n_test >= MIN_TEST_IMAGES and n_train >= MIN_TRAIN_IMAGES:
        return None
    return f"has only {n_train} training and {n_test} test images that differ"


def _homoglyph(
    drawings: dict[str, NDArray[np.uint8]], owners: dict[tuple[str, bytes], str]
) -> str | None:
    for face, image in drawings.items():
        owner = owners.get((face, image.tobytes()))
        if owner is not None:
            return f"looks like {owner} in {face}"
    return None
