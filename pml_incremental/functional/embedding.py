"""Keep every embedding where the teacher has it, or rotate all of them back there."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.functional.relational import paired_same_width, unit_vectors

_BEYOND_ROUNDING = 1e-10  # of singular values in float64


def l2_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Euclidean distance between the two embeddings of each image.

    .. math:: l_i = \lVert z_i - t_i \rVert_2

    Gradients flow into both arguments, so detach the teacher's embeddings; where the two are equal
    the gradient is 0.

    Source: the L2 baseline of Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279, as in its
    published code: the norm, not its square.

    Args:
        student: embeddings z of the model being trained, shape (N, d).
        teacher: embeddings t of the frozen model for the same images in the same order, (N, d).

    Returns:
        One loss per image, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the shapes differ or N is 0.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> l2_distillation(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]
    """
    student, teacher = paired_same_width(student, teacher)
    distances: Tensor = torch.linalg.vector_norm(student - teacher, dim=1)
    return distances


def cosine_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the cosine between the two embeddings of each image.

    .. math:: l_i = 1 - \cos(z_i, t_i)
              = \tfrac12 \lVert z_i / \lVert z_i \rVert - t_i / \lVert t_i \rVert \rVert_2^2

    computed in the second form, which keeps its digits when the two are close. A zero vector stays
    zero there and gets no gradient. Gradients flow into both arguments, so detach the teacher's.

    Source: Hou et al., "Learning a Unified Classifier Incrementally via Rebalancing", CVPR 2019
    (the less-forget constraint).

    Args:
        student: embeddings z of the model being trained, shape (N, d).
        teacher: embeddings t of the frozen model for the same images in the same order, (N, d).

    Returns:
        One loss per image, shape (N,), float32 or wider, from 0 to 2.

    Raises:
        ValueError: if the shapes differ or N is 0.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> cosine_distillation(torch.eye(2), torch.tensor([[5.0, 0.0], [0.0, -1.0]])).tolist()
        [0.0, 2.0]
    """
    student, teacher = paired_same_width(student, teacher)
    return (unit_vectors(student) - unit_vectors(teacher)).square().sum(dim=1).div(2)


def nearest_orthogonal(matrix: Tensor) -> Tensor:
    r"""The orthogonal matrix nearest to a matrix, which solves the orthogonal Procrustes problem.

    .. math:: \operatorname*{argmin}_{R^T R = I} \lVert R - M \rVert_F = U V^T
              \quad \text{with } M = U \Sigma V^T

    For :math:`M = \sum_i t_i z_i^T` it is the R that minimises
    :math:`\sum_i \lVert R z_i - t_i \rVert^2`. Directions of which M says nothing stay as near as
    they can to where they are. R may mirror.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika
    31, 1966.

    Args:
        matrix: M, shape (d, d), finite.

    Returns:
        R, shape (d, d), of the same type.

    Raises:
        ValueError: if the matrix is not square or not finite.

    Example:
        >>> z = torch.randn(20, 3, dtype=torch.float64)
        >>> turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
        >>> bool(torch.allclose(nearest_orthogonal((z @ turn.T).T @ z), turn))
        True
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.isfinite().all():
        raise ValueError(
            "the nearest orthogonal matrix is that of a square, finite matrix, got shape "
            f"{tuple(matrix.shape)}{'' if matrix.isfinite().all() else ' with NaN or infinity'}"
        )
    wide = matrix.double()
    staying = _BEYOND_ROUNDING * torch.linalg.matrix_norm(wide)
    left, _, right = torch.linalg.svd(wide + staying * torch.eye(len(wide)).to(wide))
    nearest: Tensor = left @ right
    return nearest.to(matrix)
