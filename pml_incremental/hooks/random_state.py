"""Where the random streams of a training run are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class RandomState:
    """The state, now, of all generators that a PML trainer draws from; saved like a model.

    These are Python's, NumPy's and torch's (all CUDA devices too), and the order of the classes in
    a sampler such as PML's ``MPerClassSampler``, which shuffles it in place.

    Args:
        sampler: of the training batches, or None.

    Example:
        >>> now = RandomState()
        >>> drawn = torch.rand(1)
        >>> now.restore()
        >>> bool(torch.rand(1) == drawn)
        True
    """

    def __init__(self, sampler: Any = None) -> None:
        self._sampler = sampler
        self._state = _read(sampler)

    def restore(self) -> None:
        """Put all generators back to where they were."""
        _write(self._state, self._sampler)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, which ``torch.load`` reads without executing anything."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all generators to where they were when the state was taken."""
        self._state = state
        self.restore()


def _read(sampler: Any) -> dict[str, Any]:
    version, python, gauss = random.getstate()
    numpy: dict[str, Any] = np.random.get_state(legacy=False)
    generator = numpy["state"]
    labels = getattr(sampler, "labels", None)
    return {
        "python": [version, list(python), gauss],
        # Plain values and tensors: torch.load reads no NumPy arrays without executing code.
        "numpy": {**numpy, "state": {**generator, "key": torch.tensor(generator["key"].tolist())}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "sampler": [int(label) for label in labels] if isinstance(labels, list) else None,
    }


def _write(state: dict[str, Any], sampler: Any) -> None:
    version, python, gauss = state["python"]
    random.setstate((version, tuple(python), gauss))
    generator = state["numpy"]["state"]
    key = np.array(generator["key"].tolist(), dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**generator, "key": key}})
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([device.cpu() for device in state["cuda"]])
    if state["sampler"] is not None:
        sampler.labels = list(state["sampler"])
