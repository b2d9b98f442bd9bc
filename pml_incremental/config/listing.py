"""What configs can name, for people to read."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from pml_incremental.config.registry import members
from pml_incremental.config.signatures import signature_of

_DISPLAYED = {"pml_incremental": "pml-incremental", "pytorch_metric_learning": "PML"}
# What reStructuredText adds around words.
_MARKUP = re.compile(r":\w+:|`| ?<[^>]*>`_*|``")


def available(category: str) -> dict[str, tuple[str, str]]:
    """What a category offers, in alphabetical order.

    Args:
        category: a key of ``CATEGORIES``.

    Returns:
        By name: the package it comes from, and one line about it: the start of its docstring or,
        if it has none, its arguments.

    Example:
        >>> available("strategy")["finetune"]
        ('pml-incremental', 'Train on the new images and do nothing about forgetting.')
    """
    listed = {
        name: (_DISPLAYED.get(package, package), _one_line(member))
        for name, package, member in members(category)
    }
    return dict(sorted(listed.items(), key=lambda item: item[0].lower()))


def _one_line(member: Any) -> str:
    paragraph = inspect.cleandoc(member.__doc__ or "").split("\n\n")[0].split("Args:")[0]
    text = " ".join(_MARKUP.sub("", paragraph).split())
    names = signature_of(member).parameters
    line = text.split(". ")[0] if text else f"Arguments: {', '.join(names) or 'none'}"
    return textwrap.shorten(line.rstrip(".: ") + ".", width=120, placeholder=" ...")
