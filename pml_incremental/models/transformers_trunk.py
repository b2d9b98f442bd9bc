"""Vision models of Hugging Face's transformers as trunks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args

from torch import Tensor, nn

from pml_incremental.extras import require

Pool = Literal["pooler", "cls", "mean"]
# Keys of a config that say nothing of the network, or follow from the others.
_NOT_OF_NETWORK = {
    *("transformers_version", "architectures", "dtype", "_name_or_path", "model_type"),
    *("stage_names", "out_features", "out_indices"),
}


def transformers_trunk(
    name: str, pretrained: bool = False, pool: Pool = "pooler", **config: Any
) -> nn.Module:
    """A vision model of transformers: DINOv2, a CLIP or SigLIP vision tower, ViT, ...

    Of a model of images and texts, the part for images is taken. Images of any size that is a
    multiple of the patch size do, where the model can interpolate its positions. Weights come from
    safetensors files or are unpickled as plain data; a model's own code is not run. Needs the extra
    ``transformers``.

    Args:
        name: a folder that ``save_pretrained`` wrote or that was downloaded
            (``hf download facebook/dinov2-small --local-dir dinov2-small``), the name of a model on
            the Hugging Face hub, or a model type, such as ``dinov2``, ``clip_vision_model`` or
            ``siglip_vision_model``, for random weights.
        pretrained: whether to load the weights of that folder, or download them.
        pool: what becomes of the tokens: ``pooler``, the model's own ``pooler_output``; ``cls``,
            the first token; or ``mean``, of all tokens.
        **config: keys of the model's config to change, such as ``hidden_size`` or ``image_size``.

    Returns:
        A module from images (N, 3, H, W) to features (N, d).

    Raises:
        MissingExtraError: if transformers is not installed.
        ValueError: if there is no such model, its config has no such key, or it has no weights.

    Example:
        >>> import torch
        >>> sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> trunk = transformers_trunk("dinov2", **sizes, patch_size=14)  # doctest: +SKIP
        >>> trunk(torch.zeros(1, 3, 28, 28)).shape  # doctest: +SKIP
        torch.Size([1, 32])
    """
    if pool not in get_args(Pool):
        raise ValueError(f"pool: {pool!r} is not one of {', '.join(get_args(Pool))}")
    found = _read_config(name, config)
    from transformers import AutoModel

    if not pretrained:
        tower = AutoModel.from_config(found, trust_remote_code=False)
    elif name == found.model_type:
        raise ValueError(
            f"pretrained: {name} is a type of model without weights; name a folder or a model on "
            "the hub, or leave it out"
        )
    else:
        tower = _quietly(AutoModel.from_pretrained, name, config=found, trust_remote_code=False)
    return PooledTower(tower, pool, _preprocessing(name, found.model_type))


class PooledTower(nn.Module):
    """A vision model that gives one vector for each image.

    Args:
        tower: takes ``pixel_values``.
        pool: see :func:`transformers_trunk`.
        pretrained_cfg: how images are prepared, as timm writes it; None if it is not known.
    """

    def __init__(
        self, tower: nn.Module, pool: Pool, pretrained_cfg: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.tower = tower
        self.pool = pool
        self.pretrained_cfg = pretrained_cfg
        takes = inspect.signature(tower.forward).parameters
        can_interpolate = "interpolate_pos_encoding" in takes
        self._options = {"interpolate_pos_encoding": True} if can_interpolate else {}

    def forward(self, images: Tensor) -> Tensor:
        """Features of images, shape (N, d)."""
        patch = getattr(self.tower.config, "patch_size", None)
        height, width = images.shape[-2:]
        if isinstance(patch, int) and (height % patch or width % patch):
            near = max(patch, round(min(height, width) / patch) * patch)
            raise ValueError(
                f"{width} x {height} pixels cannot be cut into patches of {patch}: make both sides "
                f"a multiple of it, such as {near}"
            )
        output = self.tower(pixel_values=images, **self._options)
        if self.pool == "pooler":
            pooled = output.get("pooler_output")
            if pooled is None:
                raise ValueError(
                    f"{type(self.tower).__name__} has no pooler_output, only {', '.join(output)}; "
                    "write pool: cls or pool: mean"
                )
            features: Tensor = pooled.flatten(1)
            return features
        tokens: Tensor = output.last_hidden_state
        if tokens.ndim != 3:
            raise ValueError(
                f"{type(self.tower).__name__} gives maps of shape {tuple(tokens.shape)}, no "
                "tokens; write pool: pooler"
            )
        return tokens[:, 0] if self.pool == "cls" else tokens.mean(1)


def with_inline_config(name: str, **arguments: Any) -> dict[str, Any]:
    """The arguments that make the same network without a folder or the hub."""
    own = {key: arguments.pop(key) for key in ("pretrained", "pool") if key in arguments}
    config = _read_config(name, arguments)
    inner = {k: value for k, value in config.to_diff_dict().items() if k not in _NOT_OF_NETWORK}
    return {"name": config.model_type, **own, **inner}


def _read_config(name: str, changes: Mapping[str, Any]) -> Any:
    """The config of a model's part for images, with changes."""
    require("transformers", "transformers_trunk", extra="transformers")
    from transformers import CONFIG_MAPPING, AutoConfig

    if name in CONFIG_MAPPING:
        found = AutoConfig.for_model(name)
    else:
        try:
            found = AutoConfig.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            near = get_close_matches(name, CONFIG_MAPPING, n=3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(
                f"{name!r} is not a type of model that transformers knows, not a folder with a "
                f"config.json, and not found on the hub: {hint}{str(error).splitlines()[0]}"
            ) from error
    found = getattr(found, "vision_config", found)
    plain = found.to_dict()
    unknown = [key for key in changes if key not in plain]
    if unknown:
        near = get_close_matches(unknown[0], plain, n=3) or sorted(plain)
        raise ValueError(
            f"{found.model_type} of transformers has no {unknown[0]!r}; it has {', '.join(near)}"
        )
    decided = {key: value for key, value in plain.items() if key not in _NOT_OF_NETWORK}
    return type(found).from_dict({**decided, **changes})


def _preprocessing(name: str, model_type: str) -> dict[str, Any] | None:
    """How a folder or the hub says that images are prepared, in timm's words."""
    if name == model_type:
        return None
    from PIL.Image import Resampling
    from transformers import AutoImageProcessor

    try:
        found = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        return None  # the model comes without
    resized = found.size["shortest_edge"] or found.size["height"]
    side = found.crop_size["height"] if found.do_center_crop else resized
    return {
        "input_size": (3, side, side),
        "crop_pct": side / resized,
        "mean": tuple(found.image_mean),
        "std": tuple(found.image_std),
        "interpolation": Resampling(found.resample).name.lower(),
    }


def _quietly(load: Any, *arguments: Any, **options: Any) -> Any:
    """Without a report of the weights of texts, which are not wanted."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load(*arguments, **options)
    finally:
        logging.set_verbosity(before)
