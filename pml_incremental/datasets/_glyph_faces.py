"""The font faces that glyphs are drawn in: those with a text repertoire that matplotlib ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path

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
