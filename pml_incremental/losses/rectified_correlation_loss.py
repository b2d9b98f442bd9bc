"""Correlation distillation with a corrected teacher, as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances.base_distance import BaseDistance
from torch import Tensor

from pml_incremental.functional import rectify_similarities, similarity_divergence
from pml_incremental.losses.correlation_distillation_loss import CorrelationDistillationLoss


class RectifiedCorrelationLoss(CorrelationDistillationLoss):
    r"""Match the similarity matrix to the teacher's, corrected where it contradicts the labels.

    .. math:: l_i = \tau^2 \, KL(softmax(\tilde S / \tau)_i \,\|\, softmax(S^Z / \tau)_i)

    with :math:`\tilde S` the teacher's similarities after
    :func:`pml_incremental.functional.rectify_similarities`. Where the teacher ranks every pair of
    the batch as the labels do, it is :class:`CorrelationDistillationLoss`. The teacher gets no
    gradient. Call it as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: ours, after the rectification of Xu et al., "LSTKC: Long Short-Term Knowledge
    Consolidation for Lifelong Person Re-Identification", AAAI 2024; the function says what differs.

    Args:
        temperature: tau > 0; larger values weigh all pairs more equally.
        distance: a PML distance; one that is not a similarity is negated. Default: dot product of
            L2-normalised embeddings.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.
            With ``collect_stats`` the share of corrected pairs is recorded as
            ``corrected_share``.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per anchor, shape (N,).

    Raises:
        ValueError: if temperature is not positive; when called, if ``labels`` or ``ref_emb`` is
            missing, ``ref_emb`` is ``embeddings`` itself or has another length, or if N is 0.

    Example:
        >>> loss = RectifiedCorrelationLoss()
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 32)
        >>> loss(student, torch.arange(8) % 4, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self, temperature: float = 4.0, distance: BaseDistance | None = None, **kwargs: Any
    ) -> None:
        super().__init__(temperature, target="teacher", distance=distance, max_bytes=None, **kwargs)
        self.add_to_recordable_attributes(name="corrected_share", is_stat=True)

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """One loss per anchor, shape (N,)."""
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} needs labels to tell which of the teacher's similarities "
                "are wrong: call it as loss(embeddings, labels, ref_emb=teacher_embeddings)"
            )
        with torch.autocast(student.device.type, enabled=False):
            student_similarities = self.similarities(student)
            teacher_similarities = self.similarities(teacher)
        target = rectify_similarities(student_similarities, teacher_similarities, labels)
        if self.collect_stats:
            self.corrected_share = (target != teacher_similarities).float().mean().item()
        return similarity_divergence(student_similarities, target, self.temperature)
