"""Where the random streams of a training run are."""

from __future__ import annotations

from typing import Any

from pml_incremental.storage.plain_state import pack_state, unpack_state
from pml_incremental.trainers.plain_attributes import plain_attributes, set_plain_attributes
from pml_incremental.trainers.random_state import random_state, restore_random_state


class RandomState:
    """The state, now, of all generators that a PML trainer draws from; saved like a model.

    These are Python's, NumPy's and torch's on every device in use, and the order of the classes in
    a sampler such as PML's ``MPerClassSampler``, which shuffles it in place.

    Args:
        sampler: of the training batches, or None.

    Example:
        >>> import torch
        >>> now = RandomState()
        >>> drawn = torch.rand(1)
        >>> now.restore()
        >>> bool(torch.rand(1) == drawn)
        True
    """

    def __init__(self, sampler: Any = None) -> None:
        self._sampler = sampler
        self._state = {"streams": random_state(), "sampler": plain_attributes(sampler)}

    def restore(self) -> None:
        """Put all generators back to where they were."""
        restore_random_state(self._state["streams"])
        set_plain_attributes(self._sampler, self._state["sampler"])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, which ``torch.load`` reads without executing anything."""
        plain, tensors = pack_state(self._state)
        return {"plain": plain, "tensors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all generators to where they were when the state was taken."""
        tensors = {name: tensor.cpu() for name, tensor in state["tensors"].items()}
        self._state = unpack_state(state["plain"], tensors)
        self.restore()
