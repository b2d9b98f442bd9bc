"""Which drawings to train on and which to hold out, by who drew them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def split_drawers(
    drawers: NDArray[np.int64], train: Sequence[int] | None, test: Sequence[int] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Which drawings are taken, and which of all are test images.

    Args:
        drawers: the number of the person behind each drawing, shape (N,).
        train: whose drawings to train on; by default those of all who are not in ``test``.
        test: whose drawings to hold out; by default nobody's.

    Returns:
        True for the drawings of either, shape (N,); and True for those held out, shape (N,), or
        None without ``test``.

    Raises:
        TypeError: if ``train`` or ``test`` is no list of integers.
        ValueError: if one is empty or names a drawer who does not occur, if both name the same
            one, or if nothing is left to train on.

    Example:
        >>> split_drawers(np.array([1, 2, 3]), train=[1], test=[3])
        (array([ True, False,  True]), array([False, False,  True]))
    """
    for name, numbers in (("train_drawers", train), ("test_drawers", test)):
        if numbers is not None:
            _check_drawers(name, numbers, np.unique(drawers).tolist())
    both = sorted({*(train or ())} & {*(test or ())})
    if both:
        raise ValueError(
            f"train_drawers and test_drawers both name {_listed(both)}: leave each to one of them"
        )
    is_test = np.isin(drawers, [] if test is None else list(test))
    is_train = ~is_test if train is None else np.isin(drawers, list(train))
    if not is_train.any():
        raise ValueError(
            "test_drawers names every drawer: no image is left to train on; name fewer"
        )
    return is_train | is_test, None if test is None else is_test


def _check_drawers(name: str, numbers: Sequence[int], occurring: list[int]) -> None:
    is_list = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    if not is_list or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise TypeError(f"{name} must be a list of integers, such as [15, 16], got {numbers!r}")
    absent = [number for number in numbers if number not in occurring]
    if absent or not numbers:
        raise ValueError(
            f"{name} must name drawers, got {_listed(absent) or 'none'}; there are "
            f"{_listed(occurring)}"
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
