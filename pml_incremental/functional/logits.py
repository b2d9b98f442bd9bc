"""Logit distillation: keep what the old classifier says about new images."""

from __future__ import annotations

from torch import Tensor

from pml_incremental.functional.correlation import similarity_divergence
from pml_incremental.functional.relational import paired


def logit_distillation(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    r"""Divergence of the student's opinion on the old classes from the teacher's.

    .. math:: l_i = \tau^2 \, KL(softmax(T_i / \tau) \,\|\, softmax(Z_{i, 1..C} / \tau))

    with C the number of classes of the teacher, which are the student's first. The divergence is
    computed in float32 or wider. Detach the teacher's logits.

    Source: Li & Hoiem, "Learning without Forgetting", ECCV 2016 and TPAMI 2018, the loss L_old.
    There it is the cross-entropy without the factor tau^2: it exceeds l_i / tau^2 by the entropy of
    the teacher's distribution, which has no gradient. With tau = 2 a weight of 1 there is 1/4 here.

    Args:
        student: logits Z of the model being trained, shape (N, C + new classes).
        teacher: logits T of the frozen model for the same images in the same order, shape (N, C).
        temperature: tau > 0; larger values weigh the unlikely classes more.

    Returns:
        One loss per image, shape (N,), float32 or wider, at least 0.

    Raises:
        ValueError: if the lengths differ, N is 0, the student has fewer classes than the teacher,
            or temperature is not positive.
        TypeError: if a logits argument is not a floating-point tensor.

    Example:
        >>> import torch
        >>> old = torch.tensor([[2.0, -1.0]])
        >>> logit_distillation(torch.tensor([[2.0, -1.0, 7.0]]), old).tolist()
        [0.0]
    """
    student, teacher = paired(student, teacher)
    classes = teacher.shape[1]
    if student.shape[1] < classes:
        raise ValueError(
            f"the student has logits for {student.shape[1]} classes but the teacher for {classes}: "
            "keep the old classes first in the student's classifier and append the new ones"
        )
    return similarity_divergence(student[:, :classes], teacher, temperature)
