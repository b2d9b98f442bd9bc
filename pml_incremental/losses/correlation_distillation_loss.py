"""Correlation distillation as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_metric_learning.distances.base_distance import BaseDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor

from pml_incremental.functional import similarity_divergence
from pml_incremental.functional._checks import check_temperature
from pml_incremental.functional.precision import widen
from pml_incremental.losses._batch_similarity import BatchSimilarity
from pml_incremental.losses._teacher_embeddings import check_teacher_embeddings, element_losses


class CorrelationDistillationLoss(BaseMetricLossFunction):
    r"""Match the student's similarity matrix on a batch to the teacher's.

    .. math:: l_i = \tau^2 \, KL(softmax(S^T / \tau)_i \,\|\, softmax(S^Z / \tau)_i)

    with :math:`S^Z, S^T` the similarities of the student's and of the teacher's embeddings. The
    teacher is the target and gets no gradient. Labels are accepted and not used, except by the
    reducer. Call it as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (correlation distillation; the
    paper weighs it 10 with tau = 4). The paper's published code exchanges the two arguments, so
    that the student is the target; ``target="student"`` reproduces that and is there for nothing
    else.

    Args:
        temperature: tau > 0; larger values weigh all pairs more equally.
        target: the distribution the other is measured from, ``"teacher"`` or ``"student"``.
        distance: a PML distance; one that is not a similarity is negated. Default: dot product of
            L2-normalised embeddings.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per anchor, shape (N,).

    Raises:
        ValueError: if temperature or target is none of the above; when called, if ``ref_emb`` is
            missing, is ``embeddings`` itself or has another length, or if N is 0.

    Example:
        >>> loss = CorrelationDistillationLoss(temperature=4.0)
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 32)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self,
        temperature: float = 4.0,
        target: Literal["teacher", "student"] = "teacher",
        distance: BaseDistance | None = None,
        **kwargs: Any,
    ) -> None:
        check_temperature(temperature)
        if target not in ("teacher", "student"):
            raise ValueError(f'target must be "teacher" or "student", got {target!r}')
        super().__init__(distance=distance, **kwargs)
        self.temperature = temperature
        self.target = target
        self.add_to_recordable_attributes(name="temperature", is_stat=False)

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,  # noqa: ARG002
        indices_tuple: Any = None,  # noqa: ARG002
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,  # noqa: ARG002
    ) -> dict[str, dict[str, Any]]:
        """One loss per anchor, in the form that PML's reducers take."""
        teacher = check_teacher_embeddings(type(self).__name__, embeddings, ref_emb)
        with torch.autocast(embeddings.device.type, enabled=False):
            student_similarities = self.similarities(embeddings)
            teacher_similarities = self.similarities(teacher.detach())
        pair = (student_similarities, teacher_similarities)
        logits, target = pair if self.target == "teacher" else pair[::-1]
        return element_losses(similarity_divergence(logits, target, self.temperature))

    def similarities(self, embeddings: Tensor) -> Tensor:
        """All pairwise similarities, shape (N, N); larger means nearer."""
        matrix: Tensor = self.distance(widen(embeddings))
        return matrix if self.distance.is_inverted else -matrix

    def get_default_distance(self) -> BaseDistance:
        """Dot product of L2-normalised embeddings."""
        return BatchSimilarity()
