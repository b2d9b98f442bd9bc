"""Images with a label each, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset


class ImagesInMemory(Dataset[tuple[Any, int]]):
    """What datasets have in common once their images are in memory."""

    _images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    transform: Callable[[Any], Any] | None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self._images[index])
        return self.transform(image) if self.transform else image, int(self.labels[index])
