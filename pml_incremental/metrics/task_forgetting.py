"""How much of a task is lost while later tasks are learned, in the two conventions."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pml_incremental.metrics._checks import check_task_values


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
