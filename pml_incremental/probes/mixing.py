"""Probes that are put together from two images along a line."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional.checks import widen
from pml_incremental.probes._checks import check_images, check_number, others, uniform


def cut_and_mix(images: Tensor, generator: torch.Generator) -> Tensor:
    r"""Cut each image along a random line and fill one side from another image of the batch.

    Pixel p, counted from the centre, stays where

    .. math:: p \cdot n > b \, w(n), \quad b \sim U(-\tfrac14, \tfrac14)

    with n a unit vector of any direction and w the width of the image in that direction. Each image
    serves once as the other one. A batch of one image stays as it is.

    Source: after CutMix, Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", ICCV 2019, which fills a box and mixes the labels likewise. Here a
    line cuts, so that both parts reach the border, and there are no labels.

    Args:
        images: shape (N, C, H, W), with any values.
        generator: of all that is drawn, on the CPU.

    Returns:
        New images, shape (N, C, H, W), of the same dtype and on the same device.

    Raises:
        ValueError: if images are not (N, C, H, W).
        TypeError: if images are not floating-point.

    Example:
        >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
        >>> made = cut_and_mix(images, torch.Generator().manual_seed(0))
        >>> made[0].unique().tolist(), made[1].unique().tolist()
        ([0.0, 1.0], [0.0, 1.0])
    """
    check_images("cut_and_mix", images)
    count, _, height, width = images.shape
    angles = uniform(0, 2 * math.pi, (count, 1, 1, 1), generator).to(images.device)
    offsets = uniform(-0.25, 0.25, (count, 1, 1, 1), generator).to(images.device)
    x, y = _from_centre(width, images.device), _from_centre(height, images.device).view(-1, 1)
    cos, sin = angles.cos(), angles.sin()
    stays = x * cos + y * sin > offsets * (width * cos.abs() + height * sin.abs())
    return torch.where(stays, images, others(images, generator))


def _from_centre(size: int, device: torch.device) -> Tensor:
    """Places of pixels along one side, shape (size,)."""
    return torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2


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
