"""How well a model retrieves, averaged over the tasks it has learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pml_incremental.metrics._checks import check_task_values


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
