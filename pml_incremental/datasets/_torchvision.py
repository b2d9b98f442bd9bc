"""Building the parts that torchvision splits a dataset into."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any


def build_parts(
    dataset: Callable[..., Any],
    root: str | os.PathLike[str],
    download: bool,
    parts: Sequence[dict[str, Any]],
) -> list[Any]:
    """One dataset of torchvision's for each part.

    Torchvision checks the published checksums before it unpacks anything.

    Args:
        dataset: torchvision's class.
        root: the folder given to it.
        download: whether it is to fetch what is missing.
        parts: the arguments that name each part.

    Raises:
        ValueError: if a part is not whole.
    """
    try:
        return [dataset(str(root), download=download, **part) for part in parts]
    except RuntimeError as error:  # torchvision's for all that is missing or damaged
        name = getattr(dataset, "__name__", dataset)
        raise ValueError(
            f"{name} is not whole under {root} ({error}): unpack the dataset there, or fetch it "
            "with --download on the command line or download=True"
        ) from error
