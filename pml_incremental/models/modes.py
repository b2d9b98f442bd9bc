"""Compiled modules, and modules in evaluation mode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def compiled(*modules: nn.Module, backend: str = "inductor") -> Iterator[None]:
    """Let calls of modules run compiled code inside, and plain code again after.

    The modules stay what they are: names in ``state_dict``, hooks and types do not change, as they
    would in the wrapper that ``torch.compile(module)`` returns. Copies are not compiled. Shapes are
    taken as fixed, so that what is computed does not depend on the shapes seen before.

    Args:
        modules: to compile, each as a whole.
        backend: of ``torch.compile``.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> with compiled(layer, backend="eager"):
        ...     layer(torch.ones(1, 2)).shape
        torch.Size([1, 2])
        >>> list(layer.state_dict())
        ['weight', 'bias']
    """
    for module in modules:
        module.compile(backend=backend, dynamic=False)
    try:
        yield
    finally:
        for module in modules:
            module._compiled_call_impl = None


def check_compiler() -> None:
    """Refuse to compile where torch would find no C++ compiler.

    Raises:
        ValueError: if neither the program that CXX names nor a usual one is there.
    """
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "cl"]
    if not any(map(shutil.which, names)):
        raise ValueError(
            f"models.compile needs a C++ compiler, and there is no {' or '.join(names)}: install "
            "one, let the environment variable CXX name it, or leave out compile"
        )


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
