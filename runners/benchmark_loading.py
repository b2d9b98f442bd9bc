"""From JPEG files to batches: ``python runners/benchmark_loading.py [--images N]``.

Times are CPU time of the training process, so other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_turn import keep, spread
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from pml_incremental.datasets import ImageFolder
from pml_incremental.datasets.image_files import (
    decoded_images,
    known_looks,
    look_at_images,
    read_rgb,
)

SIZES = {"4000 x 3000": (4000, 3000, 90), "500 x 375": (500, 375, 95)}  # and JPEG quality
IMAGES, DISTINCT, ROUNDS = 100, 4, 20
AGAIN = "ours, decoded before"  # as in all epochs but the first
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

Picture = Callable[[Path], Any]
Work = Callable[[list[Path]], Tensor]


def benchmark_loading(images: int = IMAGES) -> None:
    print(f"CPU time; medians of {ROUNDS} shuffled rounds, {max(1, images // ROUNDS)} images each")
    for name, (width, height, quality) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            files = write_files(Path(folder), images, (width, height), quality)
            size = np.mean([file.stat().st_size for file in files]) / 1e6
            print(f"JPEG files of {name}, {size:.2f} MB on average")
            report(name, time_in_turn(ways(Path(folder)), files))
            report_differences(name, files[:DISTINCT])


def write_files(folder: Path, images: int, size: tuple[int, int], quality: int) -> list[Path]:
    """Few distinct photographs, and copies of them."""
    (folder / "photos").mkdir()
    files = [folder / "photos" / f"{number:05}.jpg" for number in range(images)]
    for number, file in enumerate(files):
        if number < DISTINCT:
            photograph(*size, seed=number).save(file, quality=quality)
        else:
            shutil.copyfile(files[number % DISTINCT], file)
    return files


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Shades of all sizes, edges, and a camera's noise."""
    draw = np.random.default_rng(seed)
    page = np.full((height, width, 3), 128, np.float32)
    cells, strength = 4, 70.0
    while cells < width:  # half the size has 0.6 of the contrast, as in photographs
        shape = (cells * height // width, cells, 3)
        coarse = draw.normal(0, strength, shape) * 0.2 + draw.normal(0, strength, (*shape[:2], 1))
        for channel in range(3):
            shades = Image.fromarray(coarse[..., channel].astype(np.float32))
            page[..., channel] += shades.resize((width, height), Image.Resampling.BICUBIC)
        cells, strength = cells * 2, strength * 0.6
    image = as_image(page)
    pen = ImageDraw.Draw(image, "RGBA")
    for _ in range(60):
        middle, radius = draw.uniform(0, (width, height)), draw.uniform(width / 50, width / 6)
        angles = np.sort(draw.uniform(0, 2 * np.pi, 7))
        corners = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        pen.polygon(
            [*map(tuple, corners)], fill=(*draw.integers(0, 256, 3), draw.integers(60, 255))
        )
    noise = draw.normal(0, 5, (height, width, 1))
    return as_image(np.asarray(image) + noise)


def as_image(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def plain(path: Path) -> Image.Image:
    """What a script reads with Pillow, upright."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def by_torchvision(path: Path) -> Tensor:
    image: Tensor = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
    return image


def by_simplejpeg(path: Path) -> Tensor:
    pixels = import_module("simplejpeg").decode_jpeg(path.read_bytes())
    return torch.from_numpy(pixels).permute(2, 0, 1)


def steps(of: Any, on_tensors: bool) -> dict[str, Callable[[Any], Tensor]]:
    """Transforms for training and evaluation, of torchvision's old or new ones."""
    to_float = [v2.ToDtype(torch.float32, scale=True)] if on_tensors else [of.ToTensor()]
    ends = [*to_float, of.Normalize(*IMAGENET)]
    return {
        "training": of.Compose([of.RandomResizedCrop(224), of.RandomHorizontalFlip(), *ends]),
        "evaluation": of.Compose([of.Resize(256), of.CenterCrop(224), *ends]),
    }


def ways(root: Path) -> dict[tuple[str, str], Work]:
    """What is timed, by what it makes and how."""
    old, new = steps(transforms, on_tensors=False), steps(v2, on_tensors=True)
    found: dict[tuple[str, str], Work] = {("decoding", "Pillow"): decode_alone}
    readers: dict[str, tuple[Picture, Any]] = {"torchvision.io, v2": (by_torchvision, new)}
    if find_spec("simplejpeg"):
        readers["simplejpeg, v2"] = (by_simplejpeg, new)
    for use, transform in old.items():
        found[use, "plain"] = batches(plain, transform)
        for name, (read, theirs) in readers.items():
            found[use, name] = batches(read, theirs[use])
        images = ImageFolder(root, transform, progress=False)
        found[use, "ours"] = from_folder(images)
        found[use, AGAIN] = from_folder(images)
    found["folder", "plain"] = after(
        lambda files: [*map(plain, files)], found["evaluation", "plain"]
    )
    found["folder", "ours"] = after(look_again, found["evaluation", "ours"])
    return found


def decode_alone(files: list[Path]) -> Tensor:
    for file in files:
        with Image.open(file) as image:
            image.load()
    return torch.empty(0)


def batches(read: Picture, transform: Callable[[Any], Tensor]) -> Work:
    def work(files: list[Path]) -> Tensor:
        found: Tensor = default_collate([transform(read(file)) for file in files])
        return found

    return work


def from_folder(images: ImageFolder) -> Work:
    places = {path: place for place, path in enumerate(images.paths)}
    return batches(places.__getitem__, lambda place: images[place][0])


def after(look: Callable[[list[Path]], object], then: Work) -> Work:
    """Files are looked through for damaged ones before they are embedded."""

    def work(files: list[Path]) -> Tensor:
        for file in files:  # one after the other: an image at a time is in memory
            look([file])
        return then(files)

    return work


def look_again(files: list[Path]) -> None:
    known_looks.clear()
    look_at_images(files, progress=False)


def time_in_turn(
    works: dict[tuple[str, str], Work], files: Sequence[Path]
) -> dict[tuple[str, str], list[float]]:
    """Seconds for each image in each round, in shuffled order."""
    count = max(1, len(files) // ROUNDS)
    found: dict[tuple[str, str], list[float]] = {way: [] for way in works}
    for way in works:
        works[way](list(files[:1]))
    draw = np.random.default_rng(0)
    for number in range(ROUNDS):
        part = [files[(number * count + place) % len(files)] for place in range(count)]
        for place in draw.permutation(len(works)):
            way = [*works][place]
            decoded_images.clear()
            if way[1] == AGAIN:
                works[way](part)
            start = time.process_time()
            works[way](part)
            found[way].append((time.process_time() - start) / count)
    return found


def report(size: str, times: dict[tuple[str, str], list[float]]) -> None:
    decoder = times["decoding", "Pillow"]
    for (use, way), seconds in times.items():
        base = times.get((use, "plain"), decoder)
        gain = spread([there / here for here, there in zip(seconds, base, strict=True)])
        cost = spread([here / there for here, there in zip(seconds, decoder, strict=True)])
        speed = spread([1 / value for value in seconds])
        print(
            f"{use:11} {way:20} {speed['median']:8.1f} images/s; {gain['median']:5.2f} x plain "
            f"({gain['quartiles'][0]:.2f} to {gain['quartiles'][1]:.2f}); takes "
            f"{cost['median']:5.2f} x decoding",
            flush=True,
        )
        figures = {"images_per_second": speed, "times_plain": gain, "times_decoding": cost}
        keep(f"{size}, {use}, {way}", figures)


def report_differences(size: str, files: Sequence[Path]) -> None:
    """How far pixels are from those of images that were decoded whole, of 255 levels."""
    for use, transform in steps(transforms, on_tensors=False).items():
        found = []
        cut = transforms.Compose(transform.transforms[:-1])  # type: ignore[attr-defined]
        for number, file in enumerate(list(files) * 5):
            torch.manual_seed(number)
            ours = cut(read_rgb(file))
            torch.manual_seed(number)
            found.append((ours - cut(plain(file))).abs() * 255)
        mean, largest = float(torch.stack(found).mean()), float(torch.stack(found).max())
        print(f"{use:11} differs from plain by {mean:.2f} of 255 levels, at most {largest:.0f}")
        keep(f"{size}, {use}, difference", {"mean": mean, "largest": largest})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help="of each size")
    torch.set_num_threads(1)
    benchmark_loading(parser.parse_args().images)
