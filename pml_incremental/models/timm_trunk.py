"""Trunks from timm, by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from torch import nn

from pml_incremental.extras import require


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
