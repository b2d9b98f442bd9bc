"""Correlation distillation as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_metric_learning.distances.base_distance import BaseDistance
from torch import Tensor

from pml_incremental.functional import similarity_divergence
from pml_incremental.functional.checks import check_temperature, widen
from pml_incremental.functional.chunked_divergence import (
    DEFAULT_MAX_BYTES,
    check_max_bytes,
    rows_at_a_time,
)
from pml_incremental.losses._batch_similarity import BatchSimilarity, chunked_similarity_divergence
from pml_incremental.losses.teacher_loss import TeacherLoss


class CorrelationDistillationLoss(TeacherLoss):
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
        max_bytes: how much memory the similarity matrices may take, about. Larger ones are computed
            some rows at a time, and once more in the backward pass, instead of being kept; at least
            one row at a time. Loss and gradient are the same up to rounding. Fastest for dot
            products; for any distance, an entry of its matrix must then depend on the two
            embeddings alone. None for no limit. The default, 256 MiB, is reached at a batch of 2897
            in float32.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per anchor, shape (N,).

    Raises:
        ValueError: if temperature, target or max_bytes is none of the above; when called, if
            ``ref_emb`` is missing, is ``embeddings`` itself or has another length, if N is 0, or if
            the distance of a batch beyond max_bytes has a ``forward`` of its own.

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
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        check_temperature(temperature)
        check_max_bytes(max_bytes)
        if target not in ("teacher", "student"):
            raise ValueError(f'target must be "teacher" or "student", got {target!r}')
        super().__init__(distance=distance, **kwargs)
        self.temperature = temperature
        self.target = target
        self.max_bytes = max_bytes
        self.add_to_recordable_attributes(name="temperature", is_stat=False)

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per anchor, shape (N,)."""
        with torch.autocast(student.device.type, enabled=False):
            rows = self.rows_at_a_time(student, models=1)
            prepare = self.similarities if rows is None else self.normalized
            pair = (prepare(student), prepare(teacher))
            logits, target = pair if self.target == "teacher" else pair[::-1]
            if rows is None:
                return similarity_divergence(logits, target, self.temperature)
            return chunked_similarity_divergence(
                self.distance, logits, target.unsqueeze(0), self.temperature, rows
            ).squeeze(0)

    def similarities(self, embeddings: Tensor) -> Tensor:
        """All pairwise similarities, shape (N, N); larger means nearer."""
        matrix: Tensor = self.distance(widen(embeddings))
        return matrix if self.distance.is_inverted else -matrix

    def normalized(self, embeddings: Tensor) -> Tensor:
        """Embeddings as the distance compares them, shape (N, d); it collects its statistics."""
        embeddings = widen(embeddings)
        normalized: Tensor = self.distance.maybe_normalize(embeddings)
        self.distance.reset_stats()
        self.distance.set_default_stats(embeddings, embeddings, normalized, normalized)
        return normalized

    def rows_at_a_time(self, embeddings: Tensor, models: int) -> int | None:
        """Rows of so many models' similarity matrices that ``max_bytes`` allows; None if all."""
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        return rows_at_a_time(len(embeddings), models, wide, embeddings.device, self.max_bytes)

    def get_default_distance(self) -> BaseDistance:
        """Dot product of L2-normalised embeddings."""
        return BatchSimilarity()
