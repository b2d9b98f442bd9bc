"""Scripts, font faces, and drawing one character in one of them."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

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
            raise ValueError(f"scripts contains {script!r}, which is none of {known}")
    if len(set(scripts)) < len(scripts):
        raise ValueError(f"scripts names a script twice: {', '.join(scripts)}")
