"""Similarity-preserving distillation: keep the direction of every row of the Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.functional.relational import paired, unit_vectors


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Squared difference between the row-normalised Gram matrices of a batch.

    .. math:: l_i = \frac{1}{N} \lVert g^Z_i - g^T_i \rVert_2^2, \quad
              g^Z_i = (Z Z^\top)_i / \lVert (Z Z^\top)_i \rVert_2

    The mean over i is the paper's :math:`\lVert G^T - G^Z \rVert_F^2 / N^2`. Embeddings are taken
    as they are. Computed in float32 or wider, also under autocast. A row of zeros stays zero and
    gets no gradient. Detach the teacher's embeddings.

    Source: Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019,
    section 3.

    Args:
        student: embeddings Z of the model being trained, shape (N, d).
        teacher: embeddings T of the frozen model for the same images in the same order, shape
            (N, d_T).

    Returns:
        One loss per image, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the lengths differ or N is 0.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> similarity_preserving(torch.eye(2), torch.tensor([[1.0], [0.0]])).tolist()
        [0.0, 0.5]
    """
    student, teacher = paired(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        difference = unit_vectors(student @ student.T) - unit_vectors(teacher @ teacher.T)
    return difference.square().mean(dim=1)
