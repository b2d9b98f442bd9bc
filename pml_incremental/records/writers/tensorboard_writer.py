"""Records for TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class TensorBoardWriter:
    """Curves, pictures and the config, in ``<scope>/tensorboard``; each scope is a TensorBoard run.

    Look at them with ``tensorboard --logdir <folder>``. A curve is called ``group/name``;
    undefined values are no points of it.

    Args:
        folder: of all records of the run.
        scope: folder within it.
    """

    def __init__(self, folder: str | Path, scope: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir=str(Path(folder) / scope / "tensorboard"))

    def config(self, values: Mapping[str, Any]) -> None:
        """Write the config as a text."""
        # Indented, so that it is shown as code.
        lines = json.dumps(values, indent=2).splitlines()
        self._writer.add_text("config", "\n".join(f"    {line}" for line in lines))

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", float(value), step)

    def image(self, name: str, file: Path, step: int) -> None:
        """Add the picture."""
        pixels = np.asarray(Image.open(file).convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still held, and end the thread that writes."""
        self._writer.close()
