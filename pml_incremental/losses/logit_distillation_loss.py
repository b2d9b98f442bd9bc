"""Learning without Forgetting as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pml_incremental.functional import logit_distillation
from pml_incremental.functional.checks import check_temperature
from pml_incremental.losses.teacher_loss import TeacherLoss


class LogitDistillationLoss(TeacherLoss):
    r"""Keep what the old classifier says about new images.

    .. math:: l_i = \tau^2 \, KL(softmax(T_i / \tau) \,\|\, softmax(Z_{i, 1..C} / \tau))

    with C the number of the teacher's classes, which are the student's first. For classifiers and
    for losses with proxies, whose logits are the similarities to the proxies. Call it as
    ``loss(student_logits, labels, ref_emb=teacher_logits)``. The teacher gets no gradient. Labels
    are accepted and not used, except by the reducer.

    Source: Li & Hoiem, "Learning without Forgetting", ECCV 2016 and TPAMI 2018. There it is the
    cross-entropy without tau^2, whose gradient is 1 / tau^2 of this one.

    Args:
        temperature: tau > 0; larger values weigh the unlikely classes more. 2 in the paper.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per image, shape (N,).

    Raises:
        ValueError: if temperature is not positive; when called, if ``ref_emb`` is missing, is
            ``embeddings`` itself, has another length or more columns, or if N is 0.

    Example:
        >>> import torch
        >>> loss = LogitDistillationLoss()
        >>> student, teacher = torch.randn(8, 15, requires_grad=True), torch.randn(8, 10)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad[:, 10:].abs().max().item()
        0.0
    """

    def __init__(self, temperature: float = 2.0, **kwargs: Any) -> None:
        check_temperature(temperature)
        super().__init__(**kwargs)
        self.temperature = temperature
        self.add_to_recordable_attributes(name="temperature", is_stat=False)

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per image, shape (N,)."""
        return logit_distillation(student, teacher, self.temperature)
