"""Turned copies of images, as classes of their own."""

from __future__ import annotations

import torch
from torch import Tensor

#: Quarter turns of a square image. A mirrored one is often still the same class.
_TURNS = (1, 2, 3)
#: Of these, the one that leaves height and width as they are.
_HALF_TURNS = (2,)
_PRIME = 2**31 - 1


def turn_of_classes(labels: Tensor, generator: torch.Generator, square: bool = True) -> Tensor:
    """Draw how each class is turned: all images of a class alike.

    Args:
        labels: integers, any shape.
        generator: of the draw, on the CPU.
        square: whether images are as high as wide; others are turned upside down, to keep height
            and width.

    Returns:
        The number of each image's turn, from 0, of the labels' shape.

    Example:
        >>> turns = turn_of_classes(torch.tensor([5, 2, 5]), torch.Generator().manual_seed(0))
        >>> bool(turns[0] == turns[2])
        True
    """
    turns: Tensor = _hashed(labels, generator) % len(_TURNS if square else _HALF_TURNS)
    return turns


def images_of_some_classes(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose images so that classes are chosen whole, but for the last.

    Args:
        labels: integers, shape (..., N).
        count: how many of the N images.
        generator: of the draw, on the CPU.

    Returns:
        Indices of images, shape (..., count).

    Example:
        >>> labels = torch.tensor([7, 3, 7, 3])
        >>> chosen = images_of_some_classes(labels, 2, torch.Generator().manual_seed(0))
        >>> bool(labels[chosen[0]] == labels[chosen[1]])
        True
    """
    return _hashed(labels, generator).argsort(dim=-1, stable=True)[..., :count]


def _hashed(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random number for each class, without asking a GPU which classes there are."""
    factor, shift = torch.randint(1, _PRIME, (2,), generator=generator).tolist()
    hashed: Tensor = (labels.long() % _PRIME * factor + shift) % _PRIME
    return hashed


def turn_images(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image by 90, 180 or 270 degrees.

    Args:
        images: shape (N, C, H, W).
        turns: the number of each image's turn, as :func:`turn_of_classes` gives them for such
            images, shape (N,).

    Returns:
        Shape (N, C, H, W).

    Example:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> turn_images(image, torch.tensor([1])).tolist()
        [[[[4, 3], [2, 1]]]]
    """
    kinds = _TURNS if images.shape[-1] == images.shape[-2] else _HALF_TURNS
    turned = images
    for number, quarters in enumerate(kinds):
        candidate = torch.rot90(images, quarters, (-2, -1))
        turned = torch.where((turns == number).view(-1, 1, 1, 1), candidate, turned)
    return turned


def turned_labels(labels: Tensor, turns: Tensor) -> Tensor:
    """Labels of turned images: a class of its own for each class and turn.

    Args:
        labels: of the images as they were, at least 0, shape (N,).
        turns: as for :func:`turn_images`, shape (N,).

    Returns:
        Negative numbers, which no class of the dataset has, shape (N,).

    Example:
        >>> turned_labels(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 0])).tolist()
        [-1, -3, -4]
    """
    return -1 - (labels * len(_TURNS) + turns)
