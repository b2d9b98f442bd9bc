"""Relational distillation: keep distances between pairs and angles within triplets of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.functional.checks import check_paired, widen


def distance_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference in the distances of each image to the others, in units of the mean distance.

    .. math:: l_i = \frac{1}{N - 1} \sum_{j \ne i}
              h(\lVert z_i - z_j \rVert / \mu_Z - \lVert t_i - t_j \rVert / \mu_T)

    with :math:`\mu` the mean distance over all pairs of different images, through which gradients
    flow too, and h the Huber loss with threshold 1. The mean over i is the mean over all pairs.
    0 for a single image, which has no pair. Detach the teacher's embeddings.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, distance-wise loss, there
    as a sum over pairs.

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
        >>> z = torch.tensor([[0.0], [1.0], [3.0]])
        >>> distance_distillation(z, 10 * z).tolist()
        [0.0, 0.0, 0.0]
    """
    student, teacher = paired(student, teacher)
    others = max(len(student) - 1, 1)
    differences = _huber(_relative_distances(student), _relative_distances(teacher))
    return differences.sum(dim=1) / others


def angle_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference in the angles that pairs of other images make at each image.

    .. math:: l_j = \frac{1}{(N - 1)(N - 2)} \sum_{i \ne j} \sum_{k \ne i, j}
              h(\cos \angle z_i z_j z_k - \cos \angle t_i t_j t_k)

    with h the Huber loss with threshold 1. The mean over j is the mean over all triplets of
    different images. An angle with a side of length 0 counts as a right angle and gets no gradient.
    0 for fewer than three images. Takes O(N^2 (N + d)) memory. Detach the teacher's embeddings.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, angle-wise loss, there as
    a sum over triplets.

    Args:
        student: embeddings Z of the model being trained, shape (N, d).
        teacher: embeddings T of the frozen model for the same images in the same order, shape
            (N, d_T).

    Returns:
        One loss per image j, the vertex of the angles, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the lengths differ or N is 0.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> angle_distillation(z, 5 - 2 * z).tolist()
        [0.0, 0.0, 0.0]
    """
    student, teacher = paired(student, teacher)
    others = len(student) - 1
    differences = _huber(_angle_cosines(student), _angle_cosines(teacher))
    # i = k is no angle; it differs only where a side of one model has length 0.
    same = differences.diagonal(dim1=1, dim2=2).sum(dim=1)
    return (differences.sum(dim=(1, 2)) - same) / max(others * (others - 1), 1)


def _relative_distances(embeddings: Tensor) -> Tensor:
    distances = pairwise_distances(embeddings, embeddings)
    pairs = max(len(embeddings) * (len(embeddings) - 1), 1)
    mean = distances.sum() / pairs
    # Where all embeddings coincide every distance is 0, in any unit.
    return distances / torch.where(mean > torch.finfo(mean.dtype).tiny, mean, 1)


def _angle_cosines(embeddings: Tensor) -> Tensor:
    """Entry (j, i, k) is the cosine of the angle at j between i and k."""
    sides = unit_vectors(embeddings.unsqueeze(0) - embeddings.unsqueeze(1))
    with torch.autocast(sides.device.type, enabled=False):
        return sides @ sides.transpose(1, 2)


def _huber(student: Tensor, teacher: Tensor) -> Tensor:
    return F.huber_loss(student, teacher, reduction="none")


def paired(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or wider, or an error if row i of one cannot be paired with row i."""
    check_paired("student", student, "teacher", teacher)
    return widen(student), widen(teacher)


def paired_same_width(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`paired`, for what compares the embeddings themselves: d must equal d_T."""
    student, teacher = paired(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"the student's embeddings have width {student.shape[1]} but the teacher's have "
            f"{teacher.shape[1]}: give both models the same embedding size, or distil relations "
            "between images instead, such as correlation_distillation"
        )
    return student, teacher


def pairwise_distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances of all rows, shape (N, M); the gradient is 0 where the distance is 0."""
    # The matrix-product form loses the small distances, and with them the zero at equality.
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, scaled to length 1; a zero vector stays 0, without gradient."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    has_direction = length > torch.finfo(length.dtype).tiny
    # Dividing by the clamped length instead would give zero vectors gradients of 1e12.
    scale = torch.where(has_direction, 1 / torch.where(has_direction, length, 1), 0)
    return vectors * scale
