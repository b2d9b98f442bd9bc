"""Odd but valid pictures are read as a viewer shows them, or refused by name; none is misread."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_pictures
import pytest
import torchvision

from pml_incremental.datasets.image_files import look_at_images, read_rgb

# Pillow warns of pictures that are too large, and of animations that are cut.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
GIGABYTE = 1 << 20  # in the units of /proc
READ_EACH = """
import sys
from pathlib import Path
from pml_incremental.datasets.image_files import read_rgb

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

for name in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # begin to look for the peak
    before = kilobytes("VmRSS")  # what was imported, which differs between machines
    try:
        said = read_rgb(Path(name)).size
    except ValueError as error:
        said = error
    print(kilobytes("VmHWM") - before, said)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each file with what is shown of it, and how exactly."""
    folder = tmp_path_factory.mktemp("odd")
    found = {}
    for name, content, shown, off_by in odd_pictures.odd_pictures():
        path = folder / name
        assert path not in found
        path.write_bytes(content)
        found[path] = shown, off_by
    return found


def refused(path):
    """Whether a picture is refused, by its name."""
    with pytest.raises(ValueError, match="cannot read the image") as error:
        read_rgb(path).load()
    return str(path) in str(error.value)


def seen_by_torchvision(path):
    if path.suffix == ".webp" and not hasattr(torchvision.io, "decode_webp"):
        return None
    mode = torchvision.io.ImageReadMode
    wanted = mode.RGB if path.suffix == ".jpg" else mode.RGB_ALPHA
    found = torchvision.io.decode_image(str(path), wanted).permute(1, 2, 0).numpy()
    return found if path.suffix == ".jpg" else odd_pictures.on_white(found[..., :3], found[..., 3])


def test_each_is_read_as_a_viewer_shows_it_or_refused(files):
    assert len(files) > 500
    wrong, skipped = [], set()
    for path, (shown, off_by) in files.items():
        if shown is odd_pictures.REFUSED:
            assert refused(path)
            skipped.add(path)
            continue
        found = np.asarray(read_rgb(path)).astype(int)
        expected = seen_by_torchvision(path) if shown is odd_pictures.BY_ANOTHER_DECODER else shown
        if expected is None:
            continue
        same_shape = found.shape == expected.shape
        apart = np.abs(found - expected).max() if same_shape else expected.shape
        if not same_shape or apart > (2 if shown is odd_pictures.BY_ANOTHER_DECODER else off_by):
            wrong.append((path.name, apart))
    assert not wrong
    sizes, bad = look_at_images(list(files), progress=False)
    assert (bad.keys(), sizes.keys()) == (skipped, files.keys() - skipped)


def test_a_picture_cut_at_every_tenth_is_refused_or_whole(files):
    cut = 0
    for path, (shown, _) in files.items():
        content = path.read_bytes()
        if shown is odd_pictures.REFUSED or len(content) > 10_000:
            continue
        whole = np.asarray(read_rgb(path))
        part = path.with_name(f"cut-{path.name}")
        for tenth in range(10):
            part.write_bytes(content[: len(content) * tenth // 10])
            try:
                found = np.asarray(read_rgb(part))
            except ValueError as error:
                cut += str(part) in str(error)
            else:
                np.testing.assert_array_equal(found, whole)
                cut += 1
    assert cut > 1500


def test_a_changed_bit_of_a_png_is_refused_or_changes_nothing(files):
    """JPEG and WebP have no checksums: what is changed in them is shown as it is."""
    draw, noticed, tried = random.Random(0), 0, 0
    for path, (shown, _) in files.items():
        content = path.read_bytes()
        if shown is odd_pictures.REFUSED or path.suffix != ".png" or len(content) > 10_000:
            continue
        whole, changed = np.asarray(read_rgb(path)), path.with_name(f"changed-{path.name}")
        for _ in range(20):
            damaged = bytearray(content)
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            changed.write_bytes(damaged)
            tried += 1
            try:
                found = np.asarray(read_rgb(changed))
            except ValueError as error:
                noticed += str(changed) in str(error)
            else:
                np.testing.assert_array_equal(found, whole, str(changed))
    assert noticed > 0.8 * tried > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_no_picture_takes_more_than_two_gigabytes(tmp_path):
    most, clear = 9_400, {"tRNS": bytes(2)}
    frame = odd_pictures.saved(odd_pictures.drawn(8, 6), "WEBP", lossless=True)[12:]
    canvas = {"place": (2, 4), "size": (8, 6)}
    huge = {
        "many.png": (odd_pictures.black_png(20_000, 20_000, 1), "decompression bomb"),
        "canvas.webp": (
            odd_pictures.webp_canvas(frame, 60_000, 60_000, **canvas),
            "decompression bomb",
        ),
        "thin.png": (odd_pictures.black_png(1, 40_000_000, 1), "1000000 is the most"),
        "most.png": (odd_pictures.black_png(most, most, 1, **clear), "(9400, 9400)"),
        "deep.png": (odd_pictures.black_png(most, most, 16, **clear), "(9400, 9400)"),
        "most.webp": (odd_pictures.webp_canvas(frame, most, most, **canvas), "(9400, 9400)"),
    }
    for name, (content, _) in huge.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", READ_EACH, *(tmp_path / n for n in huge)]
    answers = subprocess.check_output(command, text=True).splitlines()
    for (name, (_, expected)), answer in zip(huge.items(), answers, strict=True):
        took, said = answer.split(" ", 1)
        assert expected in said
        assert int(took) < 2 * GIGABYTE, name
