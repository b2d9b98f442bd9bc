"""Checks of what is about to be searched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

# PML compares labels as float32, which holds no larger range of whole numbers.
LARGEST_LABEL = 2**24
NAMED_ROWS = 5
ROWS_AT_ONCE = 8192


def check_finite(name: str, embeddings: Any, dataset: Any = None) -> None:
    """Raise if a row of ``embeddings`` holds NaN or infinity, naming the first such images."""
    chunks = torch.as_tensor(embeddings).split(ROWS_AT_ONCE)
    finite = torch.cat([torch.isfinite(chunk).all(dim=1) for chunk in chunks])
    rows = torch.nonzero(~finite).flatten().tolist()
    if rows:
        first = ", ".join(map(str, rows[:NAMED_ROWS])) + (", ..." if len(rows) > NAMED_ROWS else "")
        raise ValueError(
            f"{len(rows)} of {len(finite)} embeddings of {name} are not finite (rows {first}): "
            f"look for a diverged model or for images with such values{_images(dataset, rows)}"
        )


def check_labels(name: str, labels: Any) -> None:
    """Raise if ``labels`` hold numbers that PML cannot tell from their neighbours."""
    largest = int(np.abs(np.asarray(torch.as_tensor(labels).cpu())).max(initial=0))
    if largest > LARGEST_LABEL:
        raise ValueError(
            f"{name} go up to {largest}, but are compared as float32, where labels above "
            f"{LARGEST_LABEL} (2^24) merge: number the classes from 0, for example with "
            "numpy.unique(labels, return_inverse=True)"
        )


def check_splits(name: str, splits: Collection[str], datasets: Mapping[str, Any]) -> None:
    """Raise unless there are datasets, ``splits`` are among them and none of them is empty."""
    if not datasets:
        raise ValueError("there is nothing to evaluate: give at least one split")
    unknown = [split for split in splits if split not in datasets]
    if unknown:
        raise ValueError(f"{name} has {unknown}, but the splits given are {list(datasets)}")
    for split in splits:
        if len(datasets[split]) == 0:
            raise ValueError(
                f"split {split!r} is empty: give it at least one image, or leave it out"
            )


def _images(dataset: Any, rows: list[int]) -> str:
    """The names of the first images, where the dataset knows them."""
    if not hasattr(dataset, "image_name"):
        return ""
    return ": " + ", ".join(dataset.image_name(row) for row in rows[:NAMED_ROWS])
