"""Fonts for names in any script."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

_REGULAR = 400  # weight
_UNSEEN = {"Zs", "Cf"}  # categories of characters that need no glyph: spaces and joiners


def families_for(text: str) -> tuple[str, ...]:
    """Installed font families that can draw a text together, the usual one first.

    Args:
        text: such as the name of a class.

    Returns:
        What matplotlib takes as ``fontfamily``; empty if no font has some of the characters.

    Example:
        >>> len(families_for("wren"))
        1
    """
    import matplotlib
    from matplotlib import font_manager

    usual = font_manager.FontProperties()
    missing = _characters(text) - _drawn_by(font_manager.findfont(usual))
    families = [usual.get_name()]
    # matplotlib's own fonts beyond the usual one are for formulas.
    own = Path(matplotlib.get_data_path())
    for font in font_manager.fontManager.ttflist:
        if not missing:
            break
        is_plain = font.style == "normal" and font.weight == _REGULAR
        if not is_plain or font.name in families or own in Path(font.fname).parents:
            continue
        drawn = missing & _drawn_by(font.fname)
        if drawn:
            families.append(font.name)
            missing -= drawn
    return () if missing else tuple(families)


def _characters(text: str) -> frozenset[int]:
    return frozenset(ord(c) for c in text if unicodedata.category(c) not in _UNSEEN)


@cache
def _drawn_by(file: str) -> frozenset[int]:
    """The characters that a font file has outlines of."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
    except (RuntimeError, OSError):  # of a kind that matplotlib cannot draw
        return frozenset()
    return frozenset(font.get_charmap())
