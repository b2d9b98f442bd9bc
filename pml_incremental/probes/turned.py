"""Turned copies of images, as classes of their own."""

from __future__ import annotations

import torch
from torch import Tensor

#: Quarter turns and whether the image is mirrored first; all but the image as it is.
_TURNS = ((1, False), (2, False), (3, False), (0, True), (1, True), (2, True), (3, True))
#: Of these, those that leave height and width as they are.
_HALF_TURNS = tuple(turn for turn in _TURNS if turn[0] % 2 == 0)
_PRIME = 2**31 - 1


def turn_of_classes(labels: Tensor, generator: torch.Generator, square: bool = True) -> Tensor:
    """Draw how each class is turned: all images of a class alike.

    Args:
        labels: shape (N,), integers.
        generator: of the draw, on the CPU.
        square: whether images are as high as wide; others keep height and width, so that three
            turns are left of seven.

    Returns:
        The number of each image's turn, from 0, shape (N,).

    Example:
        >>> turns = turn_of_classes(torch.tensor([5, 2, 5]), torch.Generator().manual_seed(0))
        >>> bool(turns[0] == turns[2])
        True
    """
    # A hash of the label, so that a GPU need not be asked which classes there are.
    factor, shift = torch.randint(1, _PRIME, (2,), generator=generator).tolist()
    hashed = (labels.long() % _PRIME * factor + shift) % _PRIME
    turns: Tensor = hashed % len(_TURNS if square else _HALF_TURNS)
    return turns


def turn_images(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image by a multiple of 90 degrees, mirrored or not.

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
    for number, (quarters, mirrored) in enumerate(kinds):
        candidate = torch.rot90(images.flip(-1) if mirrored else images, quarters, (-2, -1))
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
        >>> turned_labels(torch.tensor([0, 0, 1]), torch.tensor([0, 6, 0])).tolist()
        [-1, -7, -8]
    """
    return -1 - (labels * len(_TURNS) + turns)
