"""A small convolutional trunk for small images."""

from __future__ import annotations

from torch import Tensor, nn


class SmallConvNet(nn.Sequential):
    """Four convolutions with BatchNorm, then the mean over positions.

    Meant for glyphs and other small images, where it learns in seconds on a CPU from scratch. The
    first convolution halves the resolution and so do the next two, so an image of 32 x 32 pixels
    ends as a map of 4 x 4.

    Args:
        in_channels: channels of the input images; 1 for grey, 3 for RGB.
        width: channels of the first convolution; the following have 2, 4 and 4 times as many.

    Returns:
        When called with images of shape (N, in_channels, H, W): features of shape (N, 4 * width).

    Raises:
        ValueError: if in_channels or width is not positive.

    Example:
        >>> import torch
        >>> SmallConvNet(in_channels=1, width=8)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(self, in_channels: int = 1, width: int = 24) -> None:
        if in_channels < 1 or width < 1:
            raise ValueError(
                f"in_channels and width must be positive, got {in_channels} and {width}"
            )
        super().__init__(
            _block(in_channels, width, stride=2),
            _block(width, 2 * width, stride=2),
            _block(2 * width, 4 * width, stride=2),
            _block(4 * width, 4 * width, stride=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (N, 4 * width)."""
        features: Tensor = super().forward(images)
        return features


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
