"""What each kind of file becomes: what a viewer shows of it."""

import zlib

import numpy as np
import pytest
from PIL import Image

from pml_incremental.datasets import ImageFolder, image_files
from pml_incremental.datasets.image_files import look_at_images, read_rgb

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path, image, **options):
    path.parent.mkdir(exist_ok=True)
    image.save(path, **options)
    return path


def pixels(path):
    return np.asarray(read_rgb(path))


def deep(values):
    return Image.fromarray(np.asarray(values, dtype=np.uint16))


def test_sixteen_bits_of_grey_keep_their_levels(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = pixels(save(tmp_path / "ramp.png", deep(ramp)))
    expected = np.rint(ramp / 257).astype(np.uint8)
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, 2))
    assert found.min() == 0
    assert found.max() == 255


def test_two_pictures_that_look_alike_are_read_alike(tmp_path):
    """What is fully transparent has colours that nobody sees."""
    seen = Image.new("RGBA", (4, 4), (*WHITE, 0))
    unseen = Image.new("RGBA", (4, 4), (*RED, 0))
    first, second = (
        pixels(save(tmp_path / f"{n}.png", i)) for n, i in (("a", seen), ("b", unseen))
    )
    np.testing.assert_array_equal(first, second)
    assert (first == 255).all()


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        pytest.param(Image.new("RGB", (4, 4), RED), {}, RED, id="RGB"),
        pytest.param(Image.new("L", (4, 4), 7), {}, (7, 7, 7), id="grey"),
        pytest.param(Image.new("1", (4, 4), 1), {}, WHITE, id="1-bit"),
        pytest.param(Image.new("RGBA", (4, 4), (255, 0, 0, 51)), {}, (255, 204, 204), id="RGBA"),
        pytest.param(Image.new("LA", (4, 4), (0, 51)), {}, (204, 204, 204), id="LA"),
        pytest.param(Image.new("L", (4, 4), 7), {"transparency": 7}, WHITE, id="grey with tRNS"),
        pytest.param(Image.new("RGB", (4, 4), RED), {"transparency": RED}, WHITE, id="tRNS"),
        pytest.param(Image.new("RGB", (4, 4), RED), {"transparency": BLUE}, RED, id="other tRNS"),
        pytest.param(Image.new("RGB", (4, 4), BLUE).quantize(4), {}, BLUE, id="palette"),
    ],
)
def test_kinds_of_png(tmp_path, image, options, expected):
    found = pixels(save(tmp_path / "x.png", image, **options))
    assert found.shape == (4, 4, 3)
    assert (found == expected).all()


def test_a_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    found = pixels(save(tmp_path / "x.png", image, transparency=0))
    np.testing.assert_array_equal(found, [[WHITE, BLUE]])


def png(write_png, path, bits, kind, rows, transparent):
    height, width = rows.shape[:2]
    values = rows.reshape(height, -1).astype(">u2" if bits == 16 else np.uint8)
    if bits < 8:
        binary = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
        values = np.packbits(binary.reshape(height, -1), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in values)
    seen_through = np.asarray(transparent, dtype=">u2").tobytes()
    write_png(path, (width, height), bits, kind, tRNS=seen_through, IDAT=zlib.compress(raw))
    return path


@pytest.mark.parametrize(
    ("bits", "kind", "rows", "transparent", "expected"),
    [
        (16, 0, [[0, 65535, 32896]], 0, [255, 255, 128]),
        (16, 2, [[[0x1200, 0x3400, 0x5600], [0, 0, 0]]], [0x1200, 0x3400, 0x5600], [255, 0]),
        (4, 0, [[5, 6]], 5, [255, 102]),
        (2, 0, [[1, 2]], 1, [255, 170]),
    ],
)
def test_a_transparent_colour_of_any_depth(
    write_png, tmp_path, bits, kind, rows, transparent, expected
):
    found = pixels(png(write_png, tmp_path / "x.png", bits, kind, np.array(rows), transparent))
    np.testing.assert_array_equal(found, np.repeat(np.array(expected)[None, :, None], 3, 2))


def test_cmyk_photographs(tmp_path):
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow give red
    found = pixels(save(tmp_path / "x.jpg", ink, quality=100))
    assert np.abs(found.astype(int) - RED).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, orientation):
    """As stored, the red half is where the orientation of the tag says."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = RED
    upright[:8, 16:] = BLUE
    undo = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270"
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[undo.split()[orientation - 2]])
    exif = Image.Exif()
    exif[274] = orientation
    found = pixels(save(tmp_path / "x.png", stored, exif=exif))
    np.testing.assert_array_equal(found, upright)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_the_first_picture_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    options = {"save_all": True, "append_images": frames[1:], "duration": 100}
    lossless = {"lossless": True} if suffix == "webp" else {}
    found = pixels(save(tmp_path / f"x.{suffix}", frames[0], **options, **lossless))
    assert (found == RED).all()


def test_twelve_bits_in_sixteen_are_warned_of(tmp_path, caplog):
    dark = [save(tmp_path / f"{n}.png", deep([[0, 4095]])) for n in range(3)]
    look_at_images(dark, progress=False)
    assert "16-bit images: 3; no value is above 4095 of 65535" in caplog.text
    caplog.clear()
    bright = save(tmp_path / "bright.png", deep([[0, 65535]]))
    look_at_images([*dark, bright], progress=False)
    assert caplog.text == ""


def test_a_file_is_decoded_once_unless_it_changes(tmp_path, monkeypatch):
    files = [save(tmp_path / f"{n}.png", Image.new("RGB", (4, n + 1))) for n in range(3)]
    decoded = []
    monkeypatch.setattr(image_files, "to_rgb", lambda image: decoded.append(1) or image)
    first = look_at_images(files)
    assert first == ({path: (4, n + 1) for n, path in enumerate(files)}, {})
    assert look_at_images(files) == first
    assert len(decoded) == 3
    files[1].write_bytes(b"damaged since")
    sizes, bad = look_at_images(files)
    assert (list(sizes), list(bad)) == ([files[0], files[2]], [files[1]])
    save(files[1], Image.new("RGB", (9, 9)))
    assert look_at_images(files)[0][files[1]] == (9, 9)


def test_another_background_than_white(tmp_path):
    file = save(tmp_path / "cat" / "1.png", Image.new("RGBA", (4, 4), (255, 0, 0, 51)))
    assert pixels(file)[0, 0].tolist() == [255, 204, 204]
    assert np.asarray(read_rgb(file, "black"))[0, 0].tolist() == [51, 0, 0]
    assert np.asarray(ImageFolder(tmp_path, background="#0000ff")[0][0])[0, 0].tolist() == [
        *(51, 0, 204)
    ]
    with pytest.raises(ValueError, match=r"background must be a colour such as white.*got 'blak'"):
        ImageFolder(tmp_path, background="blak")
