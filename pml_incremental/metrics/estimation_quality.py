"""How near estimated features of a prior model are to its real ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.functional import correlation_distillation
from pml_incremental.functional.checks import check_paired


def correlation_divergence(estimated: Tensor, real: Tensor, temperature: float = 4.0) -> Tensor:
    r"""What correlation distillation from an estimate would be wrong by, for each image.

    .. math:: l_i = \tau^2 \, KL(softmax(S^{real} / \tau)_i \,\|\, softmax(S^{est} / \tau)_i)

    with S the cosine similarities of the images given: it depends on how many there are, so
    compare values of equal batches only.

    Args:
        estimated: estimates of a prior model's embeddings, shape (N, d).
        real: its embeddings of the same images in the same order, shape (N, d').
        temperature: tau > 0.

    Returns:
        One value per image, shape (N,), float64, at least 0.

    Raises:
        ValueError: if the lengths differ, N is 0 or temperature is not positive.
        TypeError: if an argument is not a floating-point tensor.

    Example:
        >>> z = torch.eye(4)
        >>> correlation_divergence(2 * z, z).tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    check_paired("estimated", estimated, "real", real)
    return correlation_distillation(_unit(estimated), _unit(real), temperature)


def off_diagonal_correlation(estimated: Tensor, real: Tensor) -> Tensor:
    r"""Pearson's r between the estimated and the real similarities of all pairs of images.

    .. math:: r = \operatorname{corr}_{i < j}(S^{est}_{ij}, S^{real}_{ij})

    with S the cosine similarities. An image's similarity with itself is always 1 and left out.

    Args:
        estimated: estimates of a prior model's embeddings, shape (N, d).
        real: its embeddings of the same images in the same order, shape (N, d').

    Returns:
        A number from -1 to 1, shape (), float64; NaN if all pairs of one side are equally similar.

    Raises:
        ValueError: if the arguments are no matrices of one length or N is below 3.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(off_diagonal_correlation(z, z).item(), 6)
        1.0
    """
    if estimated.ndim != 2 or real.ndim != 2 or len(estimated) != len(real) or len(real) < 3:
        raise ValueError(
            "estimated and real must have shapes (N, d) and (N, d') with N at least 3, for pairs "
            f"to differ, got {tuple(estimated.shape)} and {tuple(real.shape)}"
        )
    pairs = torch.stack([_pair_similarities(features) for features in (estimated, real)])
    # What rounding makes of equal similarities is no variation.
    if (pairs.std(dim=1) < 1e-12).any():
        return pairs.new_tensor(float("nan"))
    return torch.corrcoef(pairs)[0, 1]


def relative_drift(prior: Tensor, current: Tensor) -> Tensor:
    r"""How far a model's features are from those of an earlier one, for each image.

    .. math:: \|f_k - f\| / \|f\|

    Args:
        prior: embeddings f_k of the earlier model, shape (N, d).
        current: embeddings f of the later model for the same images in the same order, (N, d).

    Returns:
        One value per image, shape (N,), float64, at least 0.

    Raises:
        ValueError: if the shapes differ or an embedding of the later model is zero.

    Example:
        >>> relative_drift(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]])).tolist()
        [0.5]
    """
    if prior.shape != current.shape or prior.ndim != 2:
        raise ValueError(
            "prior and current must both have shape (N, d), got "
            f"{tuple(prior.shape)} and {tuple(current.shape)}"
        )
    prior, current = prior.double(), current.double()
    length = current.norm(dim=1)
    if (length == 0).any():
        raise ValueError(
            f"current is zero in row {int((length == 0).int().argmax())}: a change relative to it "
            "is undefined"
        )
    drift: Tensor = (prior - current).norm(dim=1) / length
    return drift


def _pair_similarities(features: Tensor) -> Tensor:
    """Cosine similarities of all pairs i < j."""
    unit = _unit(features)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    similarities: Tensor = (unit @ unit.T)[row, column]
    return similarities


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.double(), dim=1)
