"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(*models: nn.Module, layers: type[nn.Module] = nn.Module) -> Iterator[None]:
    """Put the models into evaluation mode, and each of their modules back as it was.

    Module by module, since a trunk in training mode may hold BatchNorm layers that are frozen.
    """
    before = [
        (module, module.training)
        for model in models
        for module in model.modules()
        if isinstance(module, layers)
    ]
    try:
        for module, _ in before:
            module.training = False
        yield
    finally:
        for module, training in before:
            module.training = training
