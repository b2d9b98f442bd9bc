"""Checks of tensor arguments that several functions share, and their precision."""

from __future__ import annotations

import torch
from torch import Tensor


def check_embeddings(name: str, embeddings: Tensor) -> None:
    """Raise unless ``embeddings`` is a floating-point matrix with at least one row."""
    if not isinstance(embeddings, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(embeddings).__name__}")
    if not embeddings.is_floating_point():
        raise TypeError(f"{name} must be of a floating-point dtype, got {embeddings.dtype}")
    if embeddings.ndim != 2:
        raise ValueError(
            f"{name} must have shape (N, d), one row per image, got {tuple(embeddings.shape)}"
        )
    if embeddings.shape[0] == 0:
        raise ValueError(f"{name} is empty (N = 0): pass the embeddings of at least one image")


def check_paired(name: str, first: Tensor, other_name: str, second: Tensor) -> None:
    """Raise unless both are embeddings and row i of one can be paired with row i of the other."""
    check_embeddings(name, first)
    check_embeddings(other_name, second)
    if first.shape[0] != second.shape[0]:
        raise ValueError(
            f"{name} has {first.shape[0]} rows but {other_name} has {second.shape[0]}: "
            "pass embeddings of the same images in the same order"
        )


def check_temperature(temperature: float) -> None:
    """Raise unless ``temperature`` is a positive, finite number."""
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)):
        raise TypeError(f"temperature must be a number, got {temperature!r}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")


def check_label_numbers(labels: object) -> None:
    """Raise if the labels of a batch are text, of which no tensor can be made."""
    found = labels[0] if isinstance(labels, (list, tuple)) and labels else labels
    if isinstance(found, str):
        raise TypeError(
            f"labels must be whole numbers, and the dataset gives text such as {found!r}: number "
            "the classes, as in {name: number for number, name in enumerate(sorted(set(names)))}"
        )


def widen(tensor: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
