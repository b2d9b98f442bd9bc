"""Feature estimation: what prior models would have made of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_incremental.functional.checks import check_embeddings, widen


def estimate_features(
    teacher: Tensor,
    low: float | Tensor,
    high: float | Tensor,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Features of prior models, estimated as random changes of the teacher's.

    .. math:: \hat f_k = f + s \, r_k \odot f, \qquad r_k \sim U(low_k, high_k)

    with one independent draw for each element. In the paper the range is an "accuracy change".
    Its published code has that worked out by hand (-0.0442811 to 0.2230079 for the first stage on
    CUB) and computes the term without adding it to the loss.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (feature estimation).

    Args:
        teacher: features f of the teacher, shape (N, d).
        low: smallest relative change; a number, or one for each prior model, shape (K,).
        high: largest relative change, of the same form.
        scale: s, multiplies the change.
        generator: where the random numbers come from, on the teacher's device. Default: torch's
            global one.

    Returns:
        Estimated features, float32 or wider: shape (N, d) if low and high are numbers, else
        (K, N, d).

    Raises:
        ValueError: if low is above high or not finite, naming the prior model, or if the shapes of
            low and high are neither () nor (K,).
        TypeError: if ``teacher`` is not a floating-point tensor.

    Example:
        >>> estimate_features(torch.ones(2, 3), low=0.5, high=0.5)
        tensor([[1.5000, 1.5000, 1.5000],
                [1.5000, 1.5000, 1.5000]])
        >>> estimate_features(torch.ones(2, 3), torch.zeros(4), torch.ones(4)).shape
        torch.Size([4, 2, 3])
    """
    check_embeddings("teacher", teacher)
    smallest, largest = torch.broadcast_tensors(_limits("low", low), _limits("high", high))
    check_ranges(smallest, largest)
    return change_randomly(teacher, smallest, largest, scale, generator)


def change_randomly(
    features: Tensor, low: Tensor, high: Tensor, scale: float, generator: torch.Generator | None
) -> Tensor:
    """As :func:`estimate_features`, without its checks; low and high are tensors of one shape."""
    features = widen(features)
    smallest = (scale * low).to(features)[..., None, None]
    span = (scale * (high - low)).to(features)[..., None, None]
    factor = torch.rand(
        torch.broadcast_shapes(span.shape, features.shape),
        dtype=features.dtype,
        device=features.device,
        generator=generator,
    )
    return factor.mul_(span).add_(1 + smallest).mul_(features)


def check_ranges(low: Tensor, high: Tensor) -> None:
    """Raise unless low <= high, both finite, for each prior model; shapes () or (K,)."""
    for k, (smallest, largest) in enumerate(zip(low.flatten(), high.flatten(), strict=True)):
        of_model = f" of prior model M_{k + 1}" if low.ndim else ""
        check_range(smallest.item(), largest.item(), of_model)


def check_range(low: float, high: float, of_model: str = "") -> None:
    """Raise unless low <= high and both are finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"the range{of_model} must be finite, got low {low} and high {high}")
    if low > high:
        raise ValueError(
            f"low is above high in the range{of_model}: {low} > {high}; low is the smallest "
            "change of accuracy and high the largest"
        )


def _limits(name: str, value: float | Tensor) -> Tensor:
    limits = torch.as_tensor(value, dtype=torch.float64)
    if limits.ndim > 1:
        raise ValueError(
            f"{name} must be a number or hold one for each prior model, shape (K,), "
            f"got {tuple(limits.shape)}"
        )
    return limits
