"""Colours as an image's ICC profile means them."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # by the colour space of a profile
_GRID = (0, 32, 64, 96, 128, 160, 192, 224, 255)
_NEAR = 2  # levels of 255; so far apart are the profiles that all say sRGB


def to_srgb(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it: a profile other than sRGB is applied, and RGB comes back.

    A profile that is damaged, or of other channels than the image has, is ignored, as viewers do.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    has_alpha = image.mode.endswith("A") or "transparency" in image.info
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif "transparency" in image.info:  # a colour of the file, which the profile changes
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    colors = image.convert(image.mode.rstrip("A")) if has_alpha else image
    transform = _transform(profile, colors.mode)
    if transform is None:
        return image
    shown = ImageCms.applyTransform(colors, transform)
    assert shown is not None  # it is only if it was made in place
    if has_alpha:
        shown.putalpha(image.getchannel("A"))
    return shown


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What takes a profile's colours to sRGB; None if they are that already, or not of the mode."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if _MODES.get(source.profile.xcolor_space) != mode:
            return None
        screen = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, screen, mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    colors = product(_GRID, repeat=len(Image.new(mode, (1, 1)).getbands()))
    grid = np.array(list(colors), dtype=np.uint8)
    tested = Image.frombytes(mode, (len(grid), 1), grid.tobytes())
    shown = ImageCms.applyTransform(tested, transform)
    assert shown is not None
    change = np.asarray(shown).astype(int) - np.asarray(tested.convert("RGB"))
    return transform if np.abs(change).max() > _NEAR else None
