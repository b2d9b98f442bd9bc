"""Maximum mean discrepancy as a pytorch-metric-learning loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pml_incremental.functional import maximum_mean_discrepancy
from pml_incremental.functional.mmd import check_bandwidths
from pml_incremental.losses.teacher_loss import TeacherLoss


class MMDLoss(TeacherLoss):
    r"""Keep the distribution of the embeddings of a batch near the teacher's.

    .. math:: l_i = \frac{1}{N} \sum_j [k(z_i, z_j) + k(t_i, t_j) - k(z_i, t_j) - k(t_i, z_j)]

    with k the mean of Gaussian kernels of several bandwidths. With the default reducer this is the
    (biased) estimate of MMD^2; a single :math:`l_i` can be negative, so reducers that drop values
    below a threshold give something else. Embeddings are taken as they are. The teacher gets no
    gradient. Labels are accepted and not used, except by the reducer. Call it as
    ``loss(embeddings, labels, ref_emb=teacher_embeddings)``.

    Source: Chen et al., "On the Exploration of Incremental Learning for Fine-grained Image
    Retrieval", BMVC 2020. The bandwidths are ours: see
    :func:`pml_incremental.functional.maximum_mean_discrepancy`.

    Args:
        bandwidths: one for each kernel, in units of the mean squared distance over all pairs of the
            batch's student's and teacher's embeddings.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other arguments of PML losses.

    Returns:
        When called: the reduced loss, a float32 or float64 scalar with the default reducer. The
        reducer is given one loss per image, shape (N,).

    Raises:
        ValueError: if bandwidths is empty or has one that is not positive; when called, if
            ``ref_emb`` is missing, is ``embeddings`` itself or has another shape, or if N is 0.

    Example:
        >>> import torch
        >>> loss = MMDLoss()
        >>> student, teacher = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
        >>> loss(student, ref_emb=teacher).backward()
        >>> student.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self, bandwidths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0), **kwargs: Any
    ) -> None:
        check_bandwidths(bandwidths)
        super().__init__(**kwargs)
        self.bandwidths = tuple(bandwidths)

    def losses_per_image(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """One loss per image, shape (N,)."""
        return maximum_mean_discrepancy(student, teacher, self.bandwidths)
