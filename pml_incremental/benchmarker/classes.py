"""Our datasets and a trunk in the form that powerful-benchmarker takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from pml_incremental import datasets, models


class _LabelledItems:
    """Items are ``{"data": image, "label": label}``; nothing is downloaded."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = super().__getitem__(index)  # type: ignore[misc]
        return {"data": image, "label": label}


class Glyphs(_LabelledItems, datasets.Glyphs):
    """See :class:`pml_incremental.datasets.Glyphs`; drawn, so ``root`` is not used."""

    def __init__(
        self,
        root: str,  # noqa: ARG002
        transform: Any = None,
        download: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        super().__init__(transform=transform, **kwargs)


class ImageFolder(_LabelledItems, datasets.ImageFolder):
    """See :class:`pml_incremental.datasets.ImageFolder`.

    Args:
        root: the dataset root given to the runner.
        folder: the folder of class folders in it.
    """

    def __init__(
        self,
        root: str,
        transform: Any = None,
        download: bool = False,  # noqa: ARG002
        folder: str = ".",
        **kwargs: Any,
    ) -> None:
        super().__init__(Path(root) / folder, transform=transform, **kwargs)


class NpzImages(_LabelledItems, datasets.NpzImages):
    """See :class:`pml_incremental.datasets.NpzImages`.

    Args:
        root: the dataset root given to the runner.
        path: the file in it.
    """

    def __init__(
        self,
        root: str,
        path: str,
        transform: Any = None,
        download: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        super().__init__(Path(root) / path, transform=transform, **kwargs)


class SmallConvNet(models.SmallConvNet):
    """See :class:`pml_incremental.models.SmallConvNet`.

    powerful-benchmarker reads the width of a trunk off its layer ``last_linear``, which it then
    replaces by the identity, and how to normalise images off the four attributes.
    """

    def __init__(self, in_channels: int = 1, width: int = 24) -> None:
        super().__init__(in_channels, width)
        self.last_linear = nn.Linear(4 * width, 1)
        self.mean, self.std = [0.0] * in_channels, [1.0] * in_channels
        self.input_space, self.input_range = "RGB", [0, 1]
