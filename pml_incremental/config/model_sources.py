"""What a config says of where a model's weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pml_incremental.config.import_checks import TRUSTED
from pml_incremental.config.registry import resolve

#: Arguments of every model that are not passed to it, and their types.
OF_FILE: dict[str, Any] = {"weights_file": str, "weights_prefix": str}
# What makes functions of torchvision, timm and ours load weights of others, and what keeps them.
_DOWNLOADS = {"weights": None, "pretrained": False}
# What weights change in torchvision's functions besides.
_CHANGED_BY_WEIGHTS = {
    "googlenet": {"transform_input": True, "aux_logits": False},
    "inception_v3": {"transform_input": True},
}


def may_have_head(model: str) -> bool:
    """Whether a model may end in a classification layer, which is not wanted.

    Those of torchvision, timm and the like may; your own ``module:callable`` is taken as it is.
    """
    package: str = resolve("model", model).__module__.split(".")[0]
    return package in (*TRUSTED, "timm")


def without_downloads(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the same network with weights that are to be replaced."""
    kept = dict(arguments)
    if not may_have_head(model):  # arguments of others mean what they mean to them
        return kept
    changed = {key: none for key, none in _DOWNLOADS.items() if kept.get(key)}
    if "weights" in changed:
        kept = {**_CHANGED_BY_WEIGHTS.get(model.split(":")[-1], {}), **kept}
    return {**kept, **changed}


def without_sources(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a network that is given its weights once it is built."""
    plain = {key: value for key, value in arguments.items() if key not in OF_FILE}
    plain = without_downloads(model, plain)
    if resolve("model", model).__module__.endswith(".transformers_trunk"):
        from pml_incremental.models.transformers_trunk import with_inline_config

        return with_inline_config(**plain)
    return plain
