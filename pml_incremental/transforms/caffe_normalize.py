"""Images as networks that come from Caffe were trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class CaffeNormalize:
    r"""Channels in the order blue, green, red, on a scale from 0 to 255, minus a mean.

    .. math:: y = 255 \, x_{BGR} - mean

    It takes the place of ``Normalize``, after ``ToTensor``. ``BNInception``'s published weights
    need it, with the default mean.

    Args:
        mean: of each channel over the training images: blue, green, red, from 0 to 255.

    Returns:
        When called with an RGB image with values from 0 to 1, shape (..., 3, H, W): a new tensor of
        that shape.

    Raises:
        ValueError: if mean is not three numbers; when called, if there are not three channels.
        TypeError: when called, if the image is not a floating-point tensor.

    Example:
        >>> red = torch.zeros(3, 1, 1)
        >>> red[0] = 1
        >>> CaffeNormalize()(red).flatten().tolist()
        [-104.0, -117.0, 127.0]
    """

    def __init__(self, mean: Sequence[float] = (104.0, 117.0, 128.0)) -> None:
        if len(mean) != 3:
            raise ValueError(f"mean must be three numbers, blue, green and red, got {mean!r}")
        self.mean = tuple(float(value) for value in mean)

    def __call__(self, image: Tensor) -> Tensor:
        """The image as the network takes it."""
        if not isinstance(image, Tensor) or not image.is_floating_point():
            raise TypeError(
                "CaffeNormalize takes a tensor of values from 0 to 1, got "
                f"{image.dtype if isinstance(image, Tensor) else type(image).__name__}: put "
                "ToTensor before it"
            )
        if image.ndim < 3 or image.shape[-3] != 3:
            raise ValueError(
                f"CaffeNormalize takes 3 channels, shape (..., 3, H, W), got {tuple(image.shape)}"
            )
        mean = torch.tensor(self.mean, dtype=image.dtype, device=image.device)
        return image.flip(-3) * 255 - mean[:, None, None]

    def __repr__(self) -> str:
        return f"CaffeNormalize(mean={self.mean})"
