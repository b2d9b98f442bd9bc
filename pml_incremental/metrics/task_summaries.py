"""How much of a task is lost while later tasks are learned, in the two conventions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pml_incremental.metrics.recall import check_task_values


def forgetting(values: ArrayLike) -> float:
    r"""Loss since a task was learned: the diagonal convention.

    .. math:: F = \frac{1}{T-1} \sum_{j<T} (a_{jj} - a_{Tj})

    Equal to minus :func:`backward_transfer`, so it is negative where later tasks help.

    Source: Lopez-Paz & Ranzato, NeurIPS 2017 (backward transfer, negated).

    Args:
        values: a[i][j] in [0, 1], a metric on task j after learning task i, shape (T + 1, T); row
            0 is the untrained model, NaN stands for not measured.

    Returns:
        A difference in [-1, 1]; NaN if a value is missing or T = 1, as one task has no later one.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> forgetting([[0.25, 0.25], [0.75, 0.5], [0.5, 0.75]])
        0.25
    """
    matrix = check_task_values(values)
    if matrix.shape[1] == 1:
        return float("nan")
    learned, end = matrix[1:].diagonal()[:-1], matrix[-1, :-1]
    return float((learned - end).mean())


def max_forgetting(values: ArrayLike) -> float:
    r"""Loss since a task was at its best: the max convention.

    .. math:: F^{max} = \frac{1}{T-1} \sum_{j<T} \left(\max_{j \le l < T} a_{lj} - a_{Tj}\right)

    At least :func:`forgetting`, as the best is never below the value just after learning.

    Source: Chaudhry et al., ECCV 2018 (forgetting measure; there the maximum runs over all l < T).

    Args:
        values: a[i][j] in [0, 1], shape (T + 1, T), see :func:`forgetting`.

    Returns:
        A difference in [-1, 1]; NaN if a value is missing or T = 1.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> max_forgetting([[0.0] * 3, [0.5] * 3, [0.75] * 3, [0.25] * 3])
        0.5
    """
    matrix = check_task_values(values)
    tasks = matrix.shape[1]
    if tasks == 1:
        return float("nan")
    drops = [matrix[j + 1 : tasks, j].max() - matrix[tasks, j] for j in range(tasks - 1)]
    return float(sum(drops) / len(drops))


def backward_transfer(values: ArrayLike) -> float:
    r"""What later tasks do for the earlier ones.

    .. math:: BWT = \frac{1}{T-1} \sum_{j<T} (a_{Tj} - a_{jj})

    Source: Lopez-Paz & Ranzato, NeurIPS 2017 (backward transfer).

    Args:
        values: a[i][j] in [0, 1], a metric on task j after learning task i, shape (T + 1, T); row
            0 is the untrained model, NaN stands for not measured.

    Returns:
        A difference in [-1, 1]; NaN if a value is missing or T = 1, as one task has no later one.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> backward_transfer([[0.25, 0.25], [0.75, 0.5], [0.5, 0.75]])
        -0.25
    """
    return 0.0 - forgetting(values)  # a plain minus makes -0.0 of no change


def forward_transfer(values: ArrayLike) -> float:
    r"""What the earlier tasks do for a task before it is learned.

    .. math:: FWT = \frac{1}{T-1} \sum_{j>1} (a_{j-1,j} - a_{0j})

    Source: Lopez-Paz & Ranzato, NeurIPS 2017 (forward transfer; there the reference is a model
    with random weights, here the model that training starts from).

    Args:
        values: a[i][j] in [0, 1], shape (T + 1, T), see :func:`backward_transfer`.

    Returns:
        A difference in [-1, 1]; NaN if a value is missing or T = 1. Galleries that hold only the
        tasks seen so far leave these values unmeasured.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> forward_transfer([[0.25, 0.25], [0.75, 0.5], [0.5, 0.75]])
        0.25
    """
    matrix = check_task_values(values)
    if matrix.shape[1] == 1:
        return float("nan")
    unseen, untrained = matrix[1:].diagonal(1), matrix[0, 1:]
    return float((unseen - untrained).mean())


def seen_means(values: ArrayLike) -> NDArray[np.float64]:
    r"""Mean over the tasks seen so far, after each task.

    .. math:: m_i = \frac{1}{i} \sum_{j \le i} a_{ij}

    Args:
        values: a[i][j] in [0, 1], a metric on task j after learning task i, shape (T + 1, T); row
            0 is the untrained model, NaN stands for not measured.

    Returns:
        Means after task 1 to T, shape (T,); NaN where a value is missing.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> seen_means([[0.2, 0.3], [0.8, 0.4], [0.5, 0.75]]).tolist()
        [0.8, 0.625]
    """
    learned = check_task_values(values)[1:]
    return np.array([row[: i + 1].mean() for i, row in enumerate(learned)])


def average_incremental(values: ArrayLike) -> float:
    r"""Mean over time of the mean over the tasks seen so far.

    .. math:: A = \frac{1}{T} \sum_{i=1}^{T} \frac{1}{i} \sum_{j \le i} a_{ij}

    Source: Rebuffi et al., CVPR 2017 (average incremental accuracy).

    Args:
        values: a[i][j] in [0, 1], shape (T + 1, T), see :func:`seen_means`.

    Returns:
        A share in [0, 1], NaN if a value is missing.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> average_incremental([[0.2, 0.3], [0.8, 0.4], [0.5, 0.75]])
        0.7125
    """
    return float(seen_means(values).mean())


def last(values: ArrayLike) -> float:
    r"""Mean over all tasks after learning the last one.

    .. math:: \frac{1}{T} \sum_{j=1}^{T} a_{Tj}

    Args:
        values: a[i][j] in [0, 1], shape (T + 1, T), see :func:`seen_means`.

    Returns:
        A share in [0, 1], NaN if a value is missing.

    Raises:
        ValueError: if the shape is another or a value is outside [0, 1].

    Example:
        >>> last([[0.2, 0.3], [0.8, 0.4], [0.5, 0.75]])
        0.625
    """
    return float(check_task_values(values)[-1].mean())
