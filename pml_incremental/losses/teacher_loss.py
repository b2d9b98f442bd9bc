"""What all losses that compare a student with a teacher have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, distributed

from pml_incremental.functional.checks import check_paired
from pml_incremental.signatures import WholeSignature


class TeacherLoss(BaseMetricLossFunction):
    """Base of losses called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    A loss of your own has one method, :meth:`losses_per_image`.

    Args:
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a scalar with the default reducer. The reducer is given one
        loss per image, shape (N,).

    Raises:
        ValueError: when called, if ``ref_emb`` is missing, is ``embeddings`` itself or is of other
            images, or if N is 0.

    Example:
        >>> class MeanShift(TeacherLoss):
        ...     def losses_per_image(self, student, teacher, labels):
        ...         return (student - teacher).mean(dim=1).square()
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
        >>> MeanShift()(student, ref_emb=teacher).backward()
    """

    __signature__ = WholeSignature()

    @abstractmethod
    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """One loss per image.

        Args:
            student: its embeddings, shape (N, d).
            teacher: those of the same images by the teacher, shape (N, d'), without gradient.
            labels: shape (N,); None for images that have none.

        Returns:
            Shape (N,).
        """

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any = None,  # noqa: ARG002
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,  # noqa: ARG002
    ) -> dict[str, dict[str, Any]]:
        """The losses, in the form that PML's reducers take."""
        # PML replaces a missing ref_emb by the embeddings themselves.
        if ref_emb is None or ref_emb is embeddings:
            raise ValueError(
                f"{type(self).__name__} needs the teacher's embeddings of the same images as "
                "ref_emb, and got none or the student's own: call it as "
                "loss(embeddings, labels, ref_emb=teacher_embeddings)"
            )
        _refuse_those_of_all_processes(type(self).__name__, embeddings, ref_emb)
        check_paired("embeddings", embeddings, "ref_emb", ref_emb)
        losses = self.losses_per_image(embeddings, ref_emb.detach(), labels)
        indices = torch.arange(len(losses), device=losses.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element"}}


def _refuse_those_of_all_processes(name: str, embeddings: Tensor, ref_emb: Tensor) -> None:
    is_shared = distributed.is_available() and distributed.is_initialized()
    processes = distributed.get_world_size() if is_shared else 1
    if processes > 1 and len(ref_emb) == processes * len(embeddings):
        raise ValueError(
            f"{name} got one process's embeddings and the teacher's of all {processes}, as "
            "DistributedLossWrapper(efficient=True) gives them; similarities need both: leave out "
            "efficient=True"
        )
