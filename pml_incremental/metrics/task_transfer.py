"""What learning one task does for the others."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pml_incremental.metrics._checks import check_task_values
from pml_incremental.metrics.task_forgetting import forgetting


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
