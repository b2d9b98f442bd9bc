"""How cost grows, beside its floor: ``python runners/benchmark.py scaling``.

A floor is what cannot be left out, by itself: the matrix products that the result is made of, or
the decoding of the images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from in_turn import by_module, forward_and_backward, in_turn, keep, spread
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from pml_incremental.datasets import ImageFolder
from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.search import ExactSearch

WIDTH, ROWS = 512, 2048
BATCHES = (64, 256, 1024, 4096, 16384)
PRIOR_MODELS = (1, 2, 5, 10, 20)
GALLERIES = (10_000, 100_000, 1_000_000)
QUERIES, GALLERY_WIDTH = 1000, 128
IMAGES, WORKERS = 256, (0, 1, 2)


def benchmark_scaling() -> None:
    scale_batches()
    scale_prior_models()
    scale_galleries()
    scale_workers()


def show(title: str, function: Callable[[], object], floor: Callable[[], object]) -> None:
    """Print a function's time and its floor's, of few rounds if they take long."""
    rounds, calls = 3, 1
    times = in_turn({"whole": function, "floor": floor}, rounds, calls)
    if sum(map(sum, times.values())) < 1:
        times = in_turn({"whole": function, "floor": floor}, rounds=20, calls=5)
    whole, least = (spread([value * 1e3 for value in times[name]]) for name in ("whole", "floor"))
    share = least["median"] / whole["median"]
    print(
        f"{title:48} {whole['median']:10.2f} ms, floor {least['median']:10.2f} ms = {share:4.0%}",
        flush=True,
    )
    keep(title, {"ms": whole, "floor_ms": least})


def scale_batches() -> None:
    for size in BATCHES:
        student, teacher = torch.randn(size, WIDTH), torch.randn(size, WIDTH)
        step = training_step(CorrelationDistillationLoss(), student, teacher)
        show(f"correlation loss and gradient, N={size}", step, similarities(student, teacher))


def scale_prior_models() -> None:
    student, teacher = torch.randn(80, WIDTH), torch.randn(80, WIDTH)
    maps = torch.randn(WIDTH, WIDTH)
    for models in PRIOR_MODELS:
        bank = EstimatorBank("LinearEstimator")
        for _ in range(models):
            bank.update([(torch.randn(80, WIDTH), torch.randn(80, WIDTH))])
        step = training_step(FeatureEstimationLoss(bank), student, teacher)
        alone = similarities(student, *(teacher @ maps for _ in range(models)))

        def products(alone: Callable[[], None] = alone, models: int = models) -> None:
            for _ in range(models):
                teacher @ maps
            alone()

        show(f"estimation loss and gradient, {models} prior models", step, products)


def training_step(loss: nn.Module, student: Tensor, teacher: Tensor) -> Callable[[], None]:
    return forward_and_backward(by_module(loss), student.clone().requires_grad_(), teacher)


def similarities(student: Tensor, *targets: Tensor) -> Callable[[], None]:
    """The matrix products of a distillation loss: similarities of all, the student's gradient."""

    def products() -> None:
        for first in range(0, len(student), ROWS):
            rows = slice(first, first + ROWS)
            (student[rows] @ student.t()) @ student
            for target in targets:
                target[rows] @ target.t()

    return products


def scale_galleries() -> None:
    for size in GALLERIES:
        points = torch.nn.functional.normalize(torch.randn(QUERIES + size, GALLERY_WIDTH))
        search = ExactSearch(points, torch.zeros(len(points), dtype=torch.int64))

        def nearest(search: ExactSearch = search, size: int = size) -> Tensor:
            return search.nearest(range(QUERIES), range(QUERIES, QUERIES + size), 8)

        def products(points: Tensor = points) -> None:
            for rows in points[QUERIES:].split(10_000):
                points[:QUERIES] @ rows.t()

        show(f"exact search, {QUERIES} queries, gallery of {size:,}", nearest, products)


def scale_workers() -> None:
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(IMAGES):
            place = Path(folder, f"class_{number % 8}")
            place.mkdir(exist_ok=True)
            coarse = draw.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((320, 320)).save(place / f"{number}.jpg", quality=90)
        files = sorted(Path(folder).rglob("*.jpg"))
        crop = transforms.Compose([transforms.RandomResizedCrop(224), transforms.ToTensor()])
        images = ImageFolder(folder, transform=crop)

        def decode() -> None:
            for file in files:
                with Image.open(file) as image:
                    image.convert("RGB")

        for workers in WORKERS:
            loader = DataLoader(images, 64, num_workers=workers, persistent_workers=workers > 0)

            def load(loader: DataLoader[object] = loader) -> None:
                for _ in loader:
                    pass

            show(f"{IMAGES} JPEG images of 320 px, {workers} workers", load, decode)
