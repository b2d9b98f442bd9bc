"""Depth, background, and that each file is decoded once; what is shown: test_odd_pictures.py."""

import numpy as np
import pytest
from PIL import Image

from pml_incremental.datasets import ImageFolder, image_files
from pml_incremental.datasets.image_files import look_at_images, read_rgb


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
