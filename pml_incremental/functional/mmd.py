"""Maximum mean discrepancy: keep the distribution of embeddings, not each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pml_incremental.functional.relational import paired_same_width, pairwise_distances


def maximum_mean_discrepancy(
    student: Tensor, teacher: Tensor, bandwidths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0)
) -> Tensor:
    r"""Squared maximum mean discrepancy between two sets of embeddings, by anchor.

    .. math:: l_i = \frac{1}{N} \sum_j
              [k(z_i, z_j) + k(t_i, t_j) - k(z_i, t_j) - k(t_i, z_j)], \quad
              k(x, y) = \frac{1}{M} \sum_m \exp(-\lVert x - y \rVert^2 / (b_m \sigma^2))

    The mean over i is the (biased) estimate of MMD^2, at least 0; a single l_i can be negative.
    :math:`\sigma^2` is the mean squared distance over all pairs of the 2N embeddings, and no
    gradient flows through it. Embeddings are taken as they are. Detach the teacher's.

    Source: Chen et al., "On the Exploration of Incremental Learning for Fine-grained Image
    Retrieval", BMVC 2020 (MMD between the features of the frozen and of the adaptive network); the
    estimate is MMD_b of Gretton et al., JMLR 13, 2012. The choice of bandwidths is ours, after
    common practice since Long et al., "Learning Transferable Features with Deep Adaptation
    Networks", ICML 2015: five kernels, each twice as wide as the one before.

    Args:
        student: embeddings Z of the model being trained, shape (N, d).
        teacher: embeddings T of the frozen model for the same images, shape (N, d).
        bandwidths: b_m > 0, one for each kernel, in units of sigma^2.

    Returns:
        One loss per anchor, shape (N,), float32 or wider.

    Raises:
        ValueError: if the shapes differ, N is 0, or bandwidths is empty or has one that is not
            positive.
        TypeError: if an embedding argument is not a floating-point tensor.

    Example:
        >>> maximum_mean_discrepancy(torch.eye(2), torch.eye(2)).tolist()
        [0.0, 0.0]
    """
    student, teacher = paired_same_width(student, teacher)
    check_bandwidths(bandwidths)
    embeddings = torch.cat([student, teacher])
    kernel = _mean_kernel(pairwise_distances(embeddings, embeddings).square(), bandwidths)
    (zz, zt), (tz, tt) = (half.chunk(2, dim=1) for half in kernel.chunk(2))
    return (zz + tt - zt - tz).mean(dim=1)


def check_bandwidths(bandwidths: Sequence[float]) -> None:
    """Raise unless there is at least one bandwidth and each is positive and finite."""
    if not bandwidths or not all(0 < bandwidth < float("inf") for bandwidth in bandwidths):
        raise ValueError(
            "bandwidths must be one or more positive numbers, in units of the mean squared "
            f"distance, got {bandwidths!r}"
        )


def _mean_kernel(squared_distances: Tensor, bandwidths: Sequence[float]) -> Tensor:
    count = len(squared_distances)
    sigma2 = squared_distances.detach().sum() / (count * (count - 1))
    # Where all embeddings coincide every distance is 0, in any unit.
    exponents = squared_distances / -torch.where(sigma2 > torch.finfo(sigma2.dtype).tiny, sigma2, 1)
    return torch.stack([(exponents / bandwidth).exp() for bandwidth in bandwidths]).mean(dim=0)
