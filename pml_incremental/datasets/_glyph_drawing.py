"""Drawing one character in one font face."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pml_incremental.datasets._glyph_faces import face_path

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
