"""Relational knowledge distillation as a pytorch-metric-learning loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional import angle_distillation, distance_distillation
from pml_incremental.losses.teacher_loss import TeacherLoss


class RelationalDistillationLoss(TeacherLoss):
    r"""Keep the distances between images and the angles within triplets of them.

    .. math:: l_i = \lambda_D \, l^D_i + \lambda_A \, l^A_i

    with :math:`l^D` of :func:`pml_incremental.functional.distance_distillation` and :math:`l^A` of
    :func:`pml_incremental.functional.angle_distillation`. With the default reducer these are the
    means over all pairs and over all triplets of different images, where the paper writes sums.
    Embeddings are taken as they are. The teacher gets no gradient. Labels are accepted and not
    used, except by the reducer. Call it as
    ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019; the weights 1 and 2 are its
    choice for metric learning (RKD-DA).

    Args:
        distance_weight: lambda_D >= 0.
        angle_weight: lambda_A >= 0; with 0 the O(N^3) angles are not computed.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per image, shape (N,).

    Raises:
        ValueError: if a weight is negative or both are 0; when called, if ``ref_emb`` is missing,
            is ``embeddings`` itself or has another length, or if N is 0.

    Example:
        >>> loss = RelationalDistillationLoss()
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 32)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self, distance_weight: float = 1.0, angle_weight: float = 2.0, **kwargs: Any
    ) -> None:
        weights = (distance_weight, angle_weight)
        if not (min(weights) >= 0 and 0 < sum(weights) < float("inf")):
            raise ValueError(
                "distance_weight and angle_weight must be at least 0 and not both 0, got "
                f"{distance_weight} and {angle_weight}"
            )
        super().__init__(**kwargs)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight
        self.add_to_recordable_attributes(list_of_names=["distance_weight", "angle_weight"])

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per image, shape (N,)."""
        terms = (
            (self.distance_weight, distance_distillation),
            (self.angle_weight, angle_distillation),
        )
        weighted = [weight * term(student, teacher) for weight, term in terms if weight > 0]
        return torch.stack(weighted).sum(dim=0)
