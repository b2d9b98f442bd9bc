"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(*models: nn.Module) -> Iterator[None]:
    """Put the models into evaluation mode, and each of their modules back as it was.

    Module by module, since a trunk in training mode may hold BatchNorm layers that are frozen.

    Args:
        models: their modules' ``training`` flags are restored on leaving, also after an error.

    Example:
        >>> from torch import nn
        >>> layer = nn.Dropout()
        >>> with evaluation_mode(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    before = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training
