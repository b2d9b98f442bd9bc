"""Transforms as the weights of a trunk were trained with: ``transforms: from_trunk``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.layout import is_object
from pml_incremental.config.model_sources import OF_FILE, without_downloads
from pml_incremental.config.objects import ObjectSpec
from pml_incremental.config.registry import resolve

FROM_TRUNK = "from_trunk"
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_KNOWN = {"efficientnet_lite0": {"input_size": (3, 224, 224), "crop_pct": 0.875, **_IMAGENET}}


def with_written_transforms(config: dict[str, Any]) -> dict[str, Any]:
    """A canonical config whose transforms are written out, if they are to be those of its trunk."""
    models = config.get("models")
    if config.get("transforms") != FROM_TRUNK or not isinstance(models, dict):
        return config
    trunk = models.get("trunk")
    if not is_object(trunk):  # said elsewhere
        return config
    return {**config, "transforms": trunk_transforms(ObjectSpec.parse(trunk))}


def trunk_transforms(trunk: ObjectSpec) -> dict[str, list[dict[str, Any]]]:
    """Transforms for training and evaluation by a trunk's own data config.

    That is what torchvision says of its ``weights``, or the trunk's ``pretrained_cfg`` (timm's
    trunks, ``transformers_trunk`` of a folder, and your own may have one): ``input_size``,
    ``mean``, ``std``, ``crop_pct`` and ``interpolation``. The trunk is built for that, without a
    download of weights.

    Raises:
        ConfigError: if there is no such model, or it says nothing of its images.
    """
    name, arguments = trunk.class_name, trunk.kwargs
    found = _data_config(name, arguments) or {}
    missing = [key for key in ("input_size", "mean", "std") if key not in found]
    if missing:
        raise ConfigError(
            [
                f"transforms: {name} does not say what images it takes (it has no pretrained_cfg "
                f"with {', '.join(missing)}, and torchvision's say it by weights: ...); write "
                "transforms.train and transforms.eval"
            ]
        )
    size = arguments.get("img_size") or arguments.get("image_size") or found["input_size"][-1]
    resized = {"interpolation": found.get("interpolation", "bilinear")}
    ends: list[dict[str, Any]] = [
        {"ToTensor": {}},
        {"Normalize": {"mean": list(found["mean"]), "std": list(found["std"])}},
    ]
    crop: dict[str, Any] = {"size": size, "scale": [0.16, 1.0], **resized}
    shorter = math.floor(size / found.get("crop_pct", 1.0))
    return {
        "train": [{"RandomResizedCrop": crop}, {"RandomHorizontalFlip": {}}, *ends],
        "eval": [{"Resize": {"size": shorter, **resized}}, {"CenterCrop": {"size": size}}, *ends],
    }


def _data_config(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    function = resolve("model", name)
    if function.__module__.startswith("torchvision."):
        return _of_torchvision(function.__name__, arguments.get("weights"))
    if name in _KNOWN:
        return _KNOWN[name]
    plain = {key: arguments[key] for key in arguments.keys() - OF_FILE.keys()}
    spec = ObjectSpec(class_name=name, kwargs=without_downloads(name, plain))
    try:
        built = spec.build("model")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError([f"models.trunk.{name}: cannot be built: {error}"]) from error
    found: Mapping[str, Any] | None = getattr(built, "pretrained_cfg", None)
    return found


def _of_torchvision(name: str, weights: Any) -> dict[str, Any] | None:
    """What torchvision says of the images that weights were trained with."""
    from torchvision.models import get_model_weights

    if weights is None:
        return None
    known = get_model_weights(name).__members__
    key = str(weights).rpartition(".")[2]
    if key not in known:
        raise ConfigError([f"models.trunk.{name}.weights: {weights}: {suggest(key, known)}"])
    found = known[key].transforms()
    (side,), (resized,) = found.crop_size, found.resize_size
    return {
        "input_size": (3, side, side),
        "crop_pct": side / resized,
        "mean": found.mean,
        "std": found.std,
        "interpolation": found.interpolation.value,
    }
