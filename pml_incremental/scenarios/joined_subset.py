"""Training images of several tasks as one dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pml_incremental.scenarios.task_subset import TaskSubset


def join_subsets(subsets: Sequence[TaskSubset]) -> TaskSubset:
    """The images of several subsets of one dataset, one after the other.

    Args:
        subsets: at least one, all of the same dataset. The transform of the first holds for all.

    Returns:
        A new subset, or the only one given.

    Raises:
        ValueError: if there are none, or they are of different datasets.

    Example:
        >>> letters = [("a", 0), ("b", 1)]
        >>> first, second = (
        ...     TaskSubset(letters, np.array([i]), np.array([i]), np.array([i])) for i in (0, 1)
        ... )
        >>> list(join_subsets([second, first]))
        [('b', 1), ('a', 0)]
    """
    if not subsets:
        raise ValueError("there are no subsets to join: give at least one")
    first = subsets[0]
    if len(subsets) == 1:
        return first
    if any(subset.dataset is not first.dataset for subset in subsets):
        raise ValueError("subsets of different datasets cannot be joined: take them from one")
    return TaskSubset(
        first.dataset,
        np.concatenate([subset.indices for subset in subsets]),
        np.concatenate([subset.labels for subset in subsets]),
        np.concatenate([subset.original_labels for subset in subsets]),
        first.transform,
    )


def select_images(subset: TaskSubset, positions: NDArray[np.int64]) -> TaskSubset:
    """Some of a subset's images.

    Args:
        subset: to choose from.
        positions: in the subset, shape (n,).

    Returns:
        A new subset with the same transform.

    Example:
        >>> letters = [("a", 7), ("b", 8), ("c", 8)]
        >>> where = np.arange(3)
        >>> subset = TaskSubset(letters, where, np.array([0, 1, 1]), np.array([7, 8, 8]))
        >>> list(select_images(subset, np.array([2])))
        [('c', 1)]
    """
    return TaskSubset(
        subset.dataset,
        subset.indices[positions],
        subset.labels[positions],
        subset.original_labels[positions],
        subset.transform,
    )
