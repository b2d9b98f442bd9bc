"""Odd but valid pictures, with what a viewer shows of them, for the test that reads them all.

What is shown is written here from the pixels that a file is made of, and so from no decoder; of
lossy files, which have no such pixels, it is left to another decoder than Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 23, 14
# First column and row, and their steps, of the seven passes of an interlaced PNG.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
PASSES = (*PASSES, (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# How to turn an upright picture into one that its EXIF orientation, from 2 on, turns upright.
STORED = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270"
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX")
READ = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}

REFUSED = "refused"
BY_ANOTHER_DECODER = "as another decoder reads it"


class Odd(NamedTuple):
    """A file, what is shown of it (RGB, uint8, or one of the words above), and how exactly."""

    name: str
    content: bytes
    shown: np.ndarray | str
    off_by: int = 0


def odd_pictures() -> Iterator[Odd]:
    """A few hundred of them."""
    yield from every_png()
    yield from every_mode_and_format()
    yield from lossy_kinds()
    yield from turned()
    yield from with_profiles()
    yield from animated()
    yield from long_and_thin()


def drawn(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    """A picture of smooth patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def on_white(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """RGB, drawn on white."""
    return np.rint(255 + (colors - 255.0) * (opacity[..., None] / 255)).astype(np.uint8)


def png(rows: np.ndarray, bits: int, kind: int, interlaced: bool = False, **chunks: bytes) -> bytes:
    """A PNG of any kind, with further chunks before its pixels."""
    parts = [rows[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [rows]
    pixels = b"".join(_packed(part, bits) for part in parts if part.size)
    return _chunks(rows.shape[1], rows.shape[0], bits, kind, interlaced, pixels, chunks)


def black_png(width: int, height: int, bits: int, **chunks: bytes) -> bytes:
    """A grey PNG without light, which is small however large the picture is."""
    pixels = bytes(height * (1 + -(-width * bits // 8)))
    return _chunks(width, height, bits, 0, False, pixels, chunks)


def _chunks(
    width: int,
    height: int,
    bits: int,
    kind: int,
    interlaced: bool,
    pixels: bytes,
    chunks: dict[str, bytes],
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    chunks = {"IHDR": head, **chunks, "IDAT": zlib.compress(pixels, 1), "IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        part = name.encode() + data
        content += struct.pack(">I", len(data)) + part + struct.pack(">I", zlib.crc32(part))
    return content


def _packed(rows: np.ndarray, bits: int) -> bytes:
    values = rows.reshape(len(rows), -1).astype(">u2" if bits == 16 else np.uint8)
    if bits < 8:
        binary = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
        values = np.packbits(binary.reshape(len(rows), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in values)


def every_png() -> Iterator[Odd]:
    """Every colour type and depth, interlaced or not, with a transparent colour or without."""
    draw = np.random.default_rng(0)
    for kind, depths in DEPTHS.items():
        for bits in depths:
            for interlaced in (False, True):
                for clear in (False, True) if kind in (0, 2, 3) else (False,):
                    name = f"{kind}-{bits}{'-interlaced' * interlaced}{'-clear' * clear}.png"
                    yield _png_of(draw, name, bits, kind, interlaced, clear)


def _png_of(
    draw: np.random.Generator, name: str, bits: int, kind: int, interlaced: bool, clear: bool
) -> Odd:
    top = 2**bits - 1
    rows = draw.integers(0, top + 1, (HEIGHT, WIDTH, CHANNELS[kind]))
    levels, opacity, chunks = np.rint(rows * 255 / top), np.full(rows.shape[:2], 255.0), {}
    if kind == 3:
        palette = draw.integers(0, 256, (top + 1, 3)).astype(np.uint8)
        chunks["PLTE"] = palette.tobytes()
        levels = palette[rows[..., 0]]
        if clear:
            chunks["tRNS"] = bytes([0, 100])
            opacity = np.array([0, 100, *[255] * (top - 1)])[rows[..., 0]]
    elif clear:
        chunks["tRNS"] = rows[3, 3].astype(">u2").tobytes()
        opacity = np.where((rows == rows[3, 3]).all(2), 0, 255)
    elif kind in (4, 6):
        opacity = levels[..., -1]
    colors = levels[..., :3] if kind in (2, 3, 6) else levels[..., :1].repeat(3, 2)
    # Pillow takes the upper 8 of 16 bits, of colour and of opacity.
    off_by = {2: 1, 4: 2, 6: 2}.get(kind, 0) if bits == 16 else 0
    content = png(rows, bits, kind, interlaced, **chunks)
    return Odd(name, content, on_white(colors, opacity), off_by)


def every_mode_and_format() -> Iterator[Odd]:
    """Whatever Pillow can write, under the name of a PNG, of a JPEG and of a WebP."""
    Image.init()
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            image = drawn().quantize(16).convert("PA") if mode == "PA" else drawn().convert(mode)
            try:
                content = saved(image, kind)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # it cannot write this mode as this format
            for suffix in ("jpg", "png", "webp"):
                shown = BY_ANOTHER_DECODER if READ.get(kind) == suffix else REFUSED
                if kind == "PNG" and suffix == "png":
                    shown = np.asarray(image.convert("RGB"))
                yield Odd(f"{mode}-as-{kind}.{suffix}", content, shown)


def lossy_kinds() -> Iterator[Odd]:
    """JPEGs and WebPs, written in every way that Pillow knows."""
    ways: dict[str, dict[str, object]] = {
        **{f"{ratio}": {"subsampling": ratio} for ratio in ("4:4:4", "4:2:2", "4:2:0")},
        "rgb": {"keep_rgb": True},
        "restarted": {"restart_marker_blocks": 1},
        "worst": {"quality": 1, "optimize": True},
    }
    for name, way in ways.items():
        for progressive in (False, True):
            content = saved(drawn(), "JPEG", progressive=progressive, **way)
            yield Odd(f"{name}{'-progressive' * progressive}.jpg", content, BY_ANOTHER_DECODER)
    clear = drawn().convert("RGBA")
    clear.putalpha(drawn(seed=1).convert("L"))
    colors, opacity = np.asarray(clear)[..., :3], np.asarray(clear)[..., 3]
    for method in range(7):
        exact = {"lossless": True, "exact": True, "method": method}
        yield Odd(f"{method}.webp", saved(drawn(), "WEBP", method=method), BY_ANOTHER_DECODER)
        yield Odd(f"{method}-exact.webp", saved(drawn(), "WEBP", **exact), np.asarray(drawn()))
        content = saved(clear, "WEBP", **exact)
        yield Odd(f"{method}-clear.webp", content, on_white(colors, opacity), 1)


def turned() -> Iterator[Odd]:
    """Every EXIF orientation in each format that has it."""
    for kind, suffix in (*READ.items(), ("TIFF", "png")):
        for orientation in range(1, 9):
            # Blocks of 16 x 16 pixels of one colour are what a JPEG keeps, however it lies.
            upright = drawn(5, 3).resize((80, 48), Image.Resampling.NEAREST)
            stored = upright
            if orientation > 1:
                turn = Image.Transpose[STORED.split()[orientation - 2]]
                stored = upright.transpose(turn)
            exif = Image.Exif()
            exif[0x0112] = orientation
            exact = {"WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}
            fine = {"quality": 100, "subsampling": 0}
            content = saved(stored, kind, exif=exif, **exact.get(kind, fine))
            shown = np.asarray(upright) if kind in READ else REFUSED
            yield Odd(
                f"turned-{kind}-{orientation}.{suffix}", content, shown, 3 * (suffix == "jpg")
            )


def profile(space: bytes, **tags: bytes) -> bytes:
    """An ICC profile of version 2 for a screen (or a grey one) with these tags."""
    table, data, first = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name.encode() + struct.pack(">II", first + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    white = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    return (head + bytes(12) + b"acsp" + bytes(28) + white).ljust(128, b"\0") + body


def curve(gamma: float) -> bytes:
    """A tone curve."""
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"


def xyz(*values: float) -> bytes:
    """A colour."""
    return b"XYZ " + struct.pack(">I3i", 0, *(round(value * 65536) for value in values))


# sRGB's primaries in XYZ, seen under D50, as its profile has them.
PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
WHITE = {"wtpt": xyz(0.9642, 1, 0.8249)}


def screen(order: str = "RGB", gamma: float = 2.2) -> bytes:
    """A profile whose channels are those of sRGB, perhaps in another order."""
    colors = {f"{c.lower()}XYZ": xyz(*PRIMARIES["RGB".index(c)]) for c in "RGB"}
    swapped = {
        f"{c.lower()}XYZ": colors[f"{o.lower()}XYZ"] for c, o in zip("RGB", order, strict=True)
    }
    curves = {f"{c}TRC": curve(gamma) for c in "rgb"}
    return profile(b"RGB ", **WHITE, **swapped, **curves)


def from_gamma(levels: np.ndarray, gamma: float) -> np.ndarray:
    """Levels of a screen of some gamma as sRGB has them."""
    linear = (levels / 255) ** gamma
    low = linear <= 0.0031308
    return np.rint(255 * np.where(low, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def with_profiles() -> Iterator[Odd]:
    """Profiles that change colours, that do not, and that are none."""
    image = drawn()
    pixels, grey = np.asarray(image), np.asarray(image.convert("L"))
    clear = image.convert("RGBA")
    clear.putalpha(drawn(seed=1).convert("L"))
    opacity = np.asarray(clear)[..., 3]
    linear, bright_grey = from_gamma(pixels, 1.0), from_gamma(grey, 1.4)
    swapped = pixels[..., [2, 1, 0]]
    bright = profile(b"GRAY", **WHITE, kTRC=curve(1.4))
    deep, exact = np.asarray(grey, np.uint16) * 257, {"lossless": True, "exact": True}
    palette = image.quantize(200)
    in_palette = np.asarray(palette.convert("RGB"))
    as_png = {
        "linear": (image, screen(gamma=1.0), linear),
        "swapped": (image, screen("BGR", 2.2), from_gamma(swapped, 2.2)),
        "gamma": (image, screen(gamma=2.2), from_gamma(pixels, 2.2)),
        "srgb": (image, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), pixels),
        "damaged": (image, screen(gamma=1.0)[:150], pixels),
        "noise": (image, b"no profile", pixels),
        "of-grey": (image, bright, pixels),
        "grey": (image.convert("L"), bright, bright_grey[..., None].repeat(3, 2)),
        "grey-of-colour": (image.convert("L"), screen(gamma=1.0), grey[..., None].repeat(3, 2)),
        "deep-grey": (Image.fromarray(deep), bright, bright_grey[..., None].repeat(3, 2)),
        "palette": (palette, screen(gamma=1.0), from_gamma(in_palette, 1.0)),
        "clear": (clear, screen(gamma=1.0), on_white(linear, opacity)),
    }
    for name, (stored, icc, shown) in as_png.items():
        content = saved(stored, "PNG", icc_profile=icc)
        yield Odd(f"profile-{name}.png", content, shown, 0 if shown is pixels else 3)
        if name in ("linear", "swapped", "clear"):
            content = saved(stored, "WEBP", icc_profile=icc, **exact)
            yield Odd(f"profile-{name}.webp", content, shown, 3)
    patches = drawn(5, 3).resize((80, 48), Image.Resampling.NEAREST)
    content = saved(patches, "JPEG", icc_profile=screen("BGR", 2.2), quality=100, subsampling=0)
    shown = from_gamma(np.asarray(patches)[..., [2, 1, 0]], 2.2)
    yield Odd("profile-swapped.jpg", content, shown, 8)


def animated() -> Iterator[Odd]:
    """The first picture of several is shown; a PNG's may lie beside its animation."""
    frames = [drawn(seed=seed) for seed in range(3)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 50}
    shown = np.asarray(frames[0])
    yield Odd("animated.png", saved(frames[0], "PNG", **more), shown)
    yield Odd("still-before.png", saved(frames[0], "PNG", default_image=True, **more), shown)
    yield Odd("animated.webp", saved(frames[0], "WEBP", lossless=True, **more), shown)
    yield Odd("several.jpg", saved(frames[0], "MPO", **more), BY_ANOTHER_DECODER)
    yield Odd("animated-gif.png", saved(frames[0], "GIF", **more), REFUSED)
    # A first frame that is smaller than the canvas, which is clear around it.
    small = saved(drawn(8, 6), "WEBP", lossless=True)[12:]
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    canvas[4:10, 2:10] = np.asarray(drawn(8, 6))
    yield Odd("part-of-canvas.webp", webp_canvas(small, WIDTH, HEIGHT, (2, 4), (8, 6)), canvas)


def webp_canvas(
    frame: bytes, width: int, height: int, place: tuple[int, int], size: tuple[int, int]
) -> bytes:
    """An animated WebP of one frame somewhere on a canvas."""

    def three(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    corner = three(place[0] // 2, place[1] // 2, size[0] - 1, size[1] - 1, 100)
    body = chunk(b"VP8X", b"\x12\0\0\0" + three(width - 1, height - 1))
    body += chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", corner + b"\0" + frame)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def long_and_thin() -> Iterator[Odd]:
    """Sides of one pixel, and as long as the format can be."""
    longest = {"JPEG": 65_500, "PNG": 100_000, "WEBP": 16_383}
    for kind, most in longest.items():
        for length in (2, 1000, most):
            for size in ((1, length), (length, 1)):
                exact = {"lossless": True} if kind == "WEBP" else {}
                image = drawn(*size)
                shown = BY_ANOTHER_DECODER if kind == "JPEG" else np.asarray(image)
                name = f"{size[0]}x{size[1]}.{READ[kind]}"
                yield Odd(name, saved(image, kind, **exact), shown)
