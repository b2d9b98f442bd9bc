"""JPEG files decoded no larger than needed: the same pixels, or nearly if they are reduced."""

import copy
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from odd_pictures import screen
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms
from torchvision.transforms import v2

from pml_incremental.datasets import ImageFolder, image_files
from pml_incremental.datasets.image_files import look_at_images, read_rgb, to_rgb
from pml_incremental.datasets.lazy_jpeg import DecodedImages, LazyJpeg
from pml_incremental.gallery.image_files import ImageFiles, ImagesToEmbed
from pml_incremental.scenarios import TaskSubset

KINDS = {
    "colour": ("RGB", {}),
    "whole chroma": ("RGB", {"subsampling": 0}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
}
TRANSFORMS = {
    "training": [transforms.RandomResizedCrop(56), transforms.RandomHorizontalFlip()],
    "evaluation": [transforms.Resize(64), transforms.CenterCrop(56)],
    "bicubic": [transforms.Resize((56, 56), transforms.InterpolationMode.BICUBIC)],
    "mirrored first": [transforms.RandomHorizontalFlip(1.0), transforms.Resize((56, 56))],
    "a third left out": [
        lambda image: image.crop((image.width // 3, 5, image.width, image.height)),
        lambda image: image.resize((56, 56)),
    ],
    "grey": [transforms.Lambda(lambda image: image.convert("L")), transforms.Resize((56, 56))],
    "v2": [v2.RandomResizedCrop(56, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()],
}


OF_EACH_KIND = pytest.mark.parametrize(
    ("kind", "orientation"), [(kind, 1) for kind in KINDS] + [("colour", n) for n in range(2, 9)]
)


@cache
def photo(width, height):
    """Shading, edges and noise, all of them different everywhere."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (height // 40, width // 40, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    edges = 60 * (np.indices((height, width)).sum(0) // 70 % 2)
    noise = draw.normal(0, 4, (height, width))
    return Image.fromarray(
        (smooth * 0.7 + (edges + noise)[..., None]).clip(0, 255).astype(np.uint8)
    )


def save(path, size, kind="colour", orientation=1):
    mode, options = KINDS[kind]
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(exist_ok=True)
    photo(*size).convert(mode).save(path, quality=92, exif=exif, **options)
    return path


def plain(path):
    """The image as Pillow reads it, decoded whole."""
    with Image.open(path) as image:
        return to_rgb(ImageOps.exif_transpose(image))


def applied(steps, image):
    torch.manual_seed(0)
    return transforms.Compose(steps)(image)


def difference(one, other):
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))


@pytest.fixture
def decoded(monkeypatch):
    """The reductions that files were decoded at."""
    found, decode = [], image_files._decode_jpeg

    def noted(*arguments):
        found.append(arguments[-1])
        return decode(*arguments)

    monkeypatch.setattr(image_files, "_decode_jpeg", noted)
    return found


@OF_EACH_KIND
@pytest.mark.parametrize("steps", TRANSFORMS)
def test_nothing_changes_where_nothing_is_reduced(tmp_path, decoded, kind, orientation, steps):
    path = save(tmp_path / "x.jpg", (83, 75), kind, orientation)
    found = applied(TRANSFORMS[steps], read_rgb(path))
    state = torch.get_rng_state()
    np.testing.assert_array_equal(found, applied(TRANSFORMS[steps], plain(path)))
    assert torch.equal(state, torch.get_rng_state())  # the same draws
    assert decoded == [1]


@OF_EACH_KIND
@pytest.mark.parametrize("steps", TRANSFORMS)
def test_large_photographs_are_decoded_smaller(tmp_path, decoded, kind, orientation, steps):
    """Nearly the same pixels, also at the borders: a pixel's shift would change them much more."""
    path = save(tmp_path / "x.jpg", (1001, 745), kind, orientation)
    found = applied(TRANSFORMS[steps], read_rgb(path))
    expected = np.asarray(applied(TRANSFORMS[steps], plain(path)))
    assert decoded in ([2], [4], [8])
    assert difference(found, expected).mean() < 1.5
    assert difference(found, expected)[[0, -1]].mean() < 3
    assert difference(found, expected)[:, [0, -1]].mean() < 3
    shifted = np.roll(expected, 1, axis=1)[:, 1:-1]
    assert difference(np.asarray(found)[:, 1:-1], shifted).mean() > 6


@pytest.mark.parametrize(
    ("shrinks", "reduction"), [(2.7, 1), (2.8, 2), (5.5, 2), (5.6, 4), (11.1, 4), (11.2, 8)]
)
def test_what_is_left_to_shrink(tmp_path, decoded, shrinks, reduction):
    path = save(tmp_path / "x.jpg", (672, 672))
    read_rgb(path).resize((round(672 / shrinks), round(672 / shrinks)))
    assert decoded == [reduction]


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(np.asarray, id="numpy"),
        pytest.param(transforms.ToTensor(), id="tensor"),
        pytest.param(lambda image: image.rotate(10), id="rotated"),
        pytest.param(lambda image: image.filter(ImageFilter.BLUR), id="filtered"),
        pytest.param(lambda image: image.crop((-20, 5, 300, 200)), id="crop beyond the border"),
        pytest.param(lambda image: image.crop((0.6, 0, 300, 200)), id="crop of part of a pixel"),
        pytest.param(lambda image: image.crop((9, 9, 99, 99)).transpose(0), id="crop, mirrored"),
        pytest.param(lambda image: image.resize((30, 20), Image.Resampling.NEAREST), id="nearest"),
        pytest.param(lambda image: image.convert("HSV"), id="HSV"),
        pytest.param(lambda image: image.convert("L"), id="grey"),
        pytest.param(lambda image: image.crop((10, 20, 300, 200)), id="crop"),
        pytest.param(lambda image: image.rotate(90, expand=True), id="turned"),
        pytest.param(lambda image: pickle.loads(pickle.dumps(image)), id="pickled"),
        pytest.param(lambda image: copy.deepcopy(image), id="copied"),
        pytest.param(lambda image: image.split()[1], id="green"),
        pytest.param(lambda image: (image.putpixel((3, 3), (1, 2, 3)), image)[1], id="written to"),
        pytest.param(lambda image: (image.thumbnail((50, 50)), image)[1], id="thumbnail"),
        pytest.param(lambda image: image.resize((9, 9), box=(2, 3, 20.5, 21)), id="box"),
    ],
)
def test_everything_else_sees_the_whole_image(tmp_path, use):
    path = save(tmp_path / "x.jpg", (640, 480), orientation=6)
    lazy, expected = read_rgb(path), plain(path)
    assert isinstance(lazy, LazyJpeg)
    assert (lazy.size, lazy.mode, lazy.info) == (expected.size, expected.mode, expected.info)
    np.testing.assert_array_equal(use(lazy), use(expected))


def test_what_is_written_into_an_image_stays_in_it(tmp_path):
    image = read_rgb(save(tmp_path / "x.jpg", (640, 480)))
    other = image.copy()
    before = np.asarray(other.resize((64, 48)))
    image.paste((255, 0, 0), (0, 0, *image.size))
    assert (np.asarray(image.resize((64, 48))) == (255, 0, 0)).all()
    np.testing.assert_array_equal(other.resize((64, 48)), before)


def test_two_crops_of_an_image_decode_it_once(tmp_path, decoded):
    image = read_rgb(save(tmp_path / "x.jpg", (90, 80)))
    for _ in range(2):
        transforms.RandomResizedCrop(32)(image)
    assert decoded == [1]


def test_a_file_is_decoded_again_when_it_has_changed(tmp_path, decoded):
    path = save(tmp_path / "x.jpg", (640, 480))
    once, again = (read_rgb(path).resize((64, 48)) for _ in range(2))
    assert decoded == [4]
    np.testing.assert_array_equal(once, again)
    Image.new("RGB", (640, 480), "red").save(path)
    assert read_rgb(path).resize((64, 48)).getpixel((9, 9)) == pytest.approx((254, 0, 0), abs=2)
    assert decoded == [4, 4]


def test_the_images_used_last_are_kept_in_so_much_memory():
    kept, decoded = DecodedImages(most_bytes=1000, largest=400), []

    def get(name, size=(10, 10)):
        return kept.get(name, lambda: decoded.append(name) or Image.new("RGB", size))

    assert get("a") is get("a")
    for name in "bacad":  # a, b and c would take 1,200 bytes
        get(name)
    get("large", (11, 10))
    get("large", (11, 10))
    assert decoded == ["a", "b", "c", "d", "large", "large"]
    assert kept.bytes == 800
    kept.clear()
    get("a")
    assert decoded[-1] == "a"


def test_every_way_to_read_a_folder(tmp_path, decoded):
    path = save(tmp_path / "cat" / "1.jpg", (1600, 1200))
    to_tensor = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
    expected = to_tensor(plain(path))
    plain_folder = ImageFolder(tmp_path)
    found = [
        ImageFolder(tmp_path, transform=to_tensor)[0][0],
        TaskSubset(plain_folder, *np.zeros((3, 1), dtype=int), to_tensor)[0][0],
        ImagesToEmbed(ImageFiles.under(tmp_path), to_tensor)[0][0],
    ]
    assert decoded == [8]  # looked through, and kept
    for images in found:
        assert (images - expected).abs().mean() < 1 / 255


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_found_at_any_size(tmp_path, kind):
    """By the look through a folder, and by a transform if the file was damaged since."""
    path = save(tmp_path / "cat" / "1.jpg", (640, 480), kind)
    folder = ImageFolder(tmp_path, transform=transforms.Resize((32, 32)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"cannot read the image .*1\.jpg: .*truncated"):
        folder[0]
    with pytest.raises(ValueError, match=r"cannot read the image .*1\.jpg: .*truncated"):
        read_rgb(path).load()
    with pytest.raises(ValueError, match=r"cannot be read: 1;"):
        ImageFolder(tmp_path)


@pytest.mark.filterwarnings("ignore:.*")
def test_looking_through_a_folder_finds_what_decoding_finds(tmp_path):
    content = save(tmp_path / "x.jpg", (160, 120)).read_bytes()
    draw = np.random.default_rng(0)
    verdicts = set()
    for number in range(150):
        damaged = bytearray(content[: draw.integers(len(content) // 2, len(content))])
        if number % 2:
            damaged = bytearray(content)
            damaged[draw.integers(len(content))] = draw.integers(256)
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(damaged)
        try:
            read_rgb(path).load()
            is_whole = True
        except ValueError:
            is_whole = False
        assert (path in look_at_images([path], progress=False)[1]) != is_whole
        verdicts.add(is_whole)
    assert verdicts == {True, False}


def test_a_smaller_decoding_has_the_colours_of_the_profile(tmp_path):
    swapped = screen("BGR", 2.2)
    patches = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    image = Image.fromarray(patches).resize((1600, 1200), Image.Resampling.NEAREST)
    image.save(tmp_path / "x.jpg", quality=100, subsampling=0, icc_profile=swapped)
    shrunk = read_rgb(tmp_path / "x.jpg").resize((160, 120))
    whole = read_rgb(tmp_path / "x.jpg")
    whole.load()
    difference = np.abs(np.asarray(shrunk, float) - np.asarray(whole.resize((160, 120)), float))
    assert difference.mean() < 1
    plain = np.asarray(image.resize((160, 120)), float)
    assert np.abs(np.asarray(shrunk, float) - plain).mean() > 20
