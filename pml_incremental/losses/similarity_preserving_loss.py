"""Similarity-preserving distillation as a pytorch-metric-learning loss."""

from __future__ import annotations

from torch import Tensor

from pml_incremental.functional import similarity_preserving
from pml_incremental.losses.teacher_loss import TeacherLoss


class SimilarityPreservingLoss(TeacherLoss):
    r"""Match the rows of the student's Gram matrix on a batch, normalised, to the teacher's.

    .. math:: l_i = \frac{1}{N} \lVert g^Z_i - g^T_i \rVert_2^2, \quad
              g^Z_i = (Z Z^\top)_i / \lVert (Z Z^\top)_i \rVert_2

    With the default reducer this is the paper's :math:`\lVert G^T - G^Z \rVert_F^2 / N^2`.
    Embeddings are taken as they are. The teacher gets no gradient. Labels are accepted and not
    used, except by the reducer. Call it as
    ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.

    Args:
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per image, shape (N,).

    Raises:
        ValueError: when called, if ``ref_emb`` is missing, is ``embeddings`` itself or has another
            length, or if N is 0.

    Example:
        >>> import torch
        >>> loss = SimilarityPreservingLoss()
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 32)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per image, shape (N,)."""
        return similarity_preserving(student, teacher)
