"""Embedding distillation as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from pml_incremental.functional import cosine_distillation, l2_distillation
from pml_incremental.losses.teacher_loss import TeacherLoss

_KINDS = {"l2": l2_distillation, "cosine": cosine_distillation}


class EmbeddingDistillationLoss(TeacherLoss):
    r"""Keep each embedding where the teacher has it.

    .. math:: l_i = \lVert z_i - t_i \rVert_2 \quad \text{or} \quad l_i = 1 - \cos(z_i, t_i)

    The strictest of the distillation losses: it keeps the old classes well and hinders learning
    new ones. Embeddings are taken as they are. The teacher gets no gradient. Labels are accepted
    and not used, except by the reducer. Call it as
    ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: ``"l2"`` is the L2 baseline of Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279,
    as in its published code; ``"cosine"`` is the less-forget constraint of Hou et al., CVPR
    2019.

    Args:
        kind: ``"l2"`` or ``"cosine"``.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per image, shape (N,).

    Raises:
        ValueError: if kind is none of the above; when called, if ``ref_emb`` is missing, is
            ``embeddings`` itself or has another shape, or if N is 0.

    Example:
        >>> import torch
        >>> loss = EmbeddingDistillationLoss("cosine")
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(self, kind: Literal["l2", "cosine"] = "l2", **kwargs: Any) -> None:
        if kind not in _KINDS:
            raise ValueError(f'kind must be "l2" or "cosine", got {kind!r}')
        super().__init__(**kwargs)
        self.kind = kind

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per image, shape (N,)."""
        return _KINDS[self.kind](student, teacher)
