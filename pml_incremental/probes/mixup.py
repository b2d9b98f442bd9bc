"""Probes that are weighted means of two images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional.precision import widen
from pml_incremental.probes._checks import check_images, check_number
from pml_incremental.probes._draws import others


def mixup(images: Tensor, generator: torch.Generator, alpha: float = 1.0) -> Tensor:
    r"""Mix each image with another one of the batch.

    .. math:: \lambda_i x_i + (1 - \lambda_i) x_{j(i)}, \quad \lambda_i \sim Beta(\alpha, \alpha)

    Each image serves once as the other one, and each has a share of its own. A batch of one image
    stays as it is. Computed in float32 or wider.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, equation 1,
    without its labels.

    Args:
        images: shape (N, C, H, W), with any values.
        generator: of all that is drawn, on the CPU.
        alpha: above 0; with 1 every share is as likely, smaller values leave most images nearly
            whole, larger ones mix most of them half and half.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if alpha is not above 0 or images are not (N, C, H, W).
        TypeError: if alpha is no number or images are not floating-point.

    Example:
        >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
        >>> mixup(images, torch.Generator().manual_seed(0), alpha=1e6).flatten().round(decimals=1)
        tensor([0.5000, 0.5000])
    """
    _check(alpha)
    check_images("mixup", images)
    wide = widen(images)
    shares = _beta(alpha, len(images), generator).to(wide).view(-1, 1, 1, 1)
    return torch.lerp(others(wide, generator), wide, shares).to(images.dtype)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    r"""Draw from Beta(alpha, alpha), float64.

    It is :math:`G / (G + G')` for two draws from Gamma(alpha), each made as
    :math:`G_{\alpha + 1} U^{1 / \alpha}` and in logarithms, as for small alpha they are too small.
    """
    shape = torch.full((2, count), alpha + 1.0, dtype=torch.float64)
    even = 1 - torch.rand(2, count, generator=generator, dtype=torch.float64)  # never 0
    # torch.distributions calls it too, but takes no generator.
    logs = torch._standard_gamma(shape, generator=generator).log() + even.log() / alpha
    return (logs[0] - logs[1]).sigmoid()


def _check(alpha: Any) -> None:
    check_number("mixup", "alpha", alpha, above=0)
