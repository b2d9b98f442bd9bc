"""Teacher similarities, corrected where they contradict the labels."""

from __future__ import annotations

import torch
from torch import Tensor


def rectify_similarities(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    r"""Replace the teacher's similarities that rank a pair against its labels.

    For anchor i let :math:`n_i = \max_{j: y_j \ne y_i} S^T_{ij}` be the similarity of its hardest
    negative and :math:`p_i = \min_{j \ne i: y_j = y_i} S^T_{ij}` that of its hardest positive. A
    positive below :math:`n_i` or a negative above :math:`p_i` contradicts the labels:

    .. math:: \tilde S_{ij} = \begin{cases}
              \max(n_i, S^Z_{ij}) & y_j = y_i,\ j \ne i,\ S^T_{ij} < n_i \\
              \min(p_i, S^Z_{ij}) & y_j \ne y_i,\ S^T_{ij} > p_i \\
              S^T_{ij} & \text{otherwise} \end{cases}

    So every row agrees with the labels (no negative above a positive), a corrected pair is pulled
    to the boundary, and a student that is beyond the boundary already is left alone there.

    Source: ours, after the rectification of Xu et al., "LSTKC: Long Short-Term Knowledge
    Consolidation for Lifelong Person Re-Identification", AAAI 2024. Theirs corrects probabilities
    and normalises them again; takes the student's value where the student is right, even if that
    contradicts other entries of the row; and where both are wrong takes the boundary of whichever
    of the two models is further on.

    Args:
        student: similarities S^Z, larger for nearer pairs, shape (N, N).
        teacher: similarities S^T of the same images in the same order, shape (N, N).
        labels: class of each image y, shape (N,).

    Returns:
        The corrected similarities, shape (N, N), a constant: no gradient flows into any argument.

    Raises:
        ValueError: if the shapes are not as said.

    Example:
        >>> teacher = torch.tensor([[1.0, 0.2, 0.6], [0.2, 1.0, 0.1], [0.6, 0.1, 1.0]])
        >>> rectify_similarities(torch.eye(3), teacher, torch.tensor([0, 0, 1]))[0]
        tensor([1.0000, 0.6000, 0.0000])
    """
    count = len(labels)
    if labels.ndim != 1 or student.shape != (count, count) or teacher.shape != (count, count):
        raise ValueError(
            "the similarity matrices must have shape (N, N) for N labels, got "
            f"{tuple(student.shape)} for the student, {tuple(teacher.shape)} for the teacher and "
            f"{tuple(labels.shape)} for the labels"
        )
    student, teacher = student.detach(), teacher.detach()
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    positive = same & ~torch.eye(count, dtype=torch.bool, device=same.device)
    infinity = float("inf")
    hardest_negative = teacher.masked_fill(same, -infinity).amax(dim=1, keepdim=True)
    hardest_positive = teacher.masked_fill(~positive, infinity).amin(dim=1, keepdim=True)
    too_far = positive & (teacher < hardest_negative)
    too_near = ~same & (teacher > hardest_positive)
    rectified = torch.where(too_far, torch.maximum(hardest_negative, student), teacher)
    return torch.where(too_near, torch.minimum(hardest_positive, student), rectified)
