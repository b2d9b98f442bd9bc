"""The scripts that glyphs are drawn from: ranges of Unicode characters."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple


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
