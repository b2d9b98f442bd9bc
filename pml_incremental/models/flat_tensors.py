"""Many state dictionaries in one flat mapping, as safetensors files hold them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a flat mapping whose names begin with a prefix, without it.

    Args:
        prefix: such as ``"trunk."``.
        tensors: tensors by full name.

    Returns:
        The same tensors by what follows the prefix.

    Example:
        >>> list(tensors_under("trunk.", {"trunk.weight": 1, "trunk2.weight": 2}))
        ['weight']
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
