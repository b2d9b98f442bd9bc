"""Which code a config may have imported: what it names in ``allow_imports``, and no other."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pml_incremental.config.layout import KeyPath, children, find_objects
from pml_incremental.config.registry import is_sum, offers

_CLASS_PATH = re.compile(r"[\w.]*:[\w.]*")
TRUSTED = ("pml_incremental", "pytorch_metric_learning", "torch", "torchvision")


def find_import_problems(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Class paths (``module:Class``) that the config does not say may be imported.

    Nothing is imported to find out but modules of torch, torchvision, PML and this package, whose
    classes need no permission where they are of the kind that is looked for.
    """
    listed = config.get("allow_imports")
    names = listed if isinstance(listed, (list, tuple)) else ()
    allowed = [name for name in names if isinstance(name, str)]
    for path, category, name in _class_paths(config):
        module = name.partition(":")[0]
        if not _CLASS_PATH.fullmatch(name):
            what = "is no name of a class, and no module:Class either"
            yield (*path, name), f"{what}; write options apart, {{ClassName: {{argument: value}}}}"
        elif not _is_allowed(module, allowed) and not _is_offered(category, name):
            yield (
                (*path, name),
                f"imports {module}, which is code that could do anything: write "
                f"'allow_imports: [{module.split('.')[0]}]' if you trust it",
            )


def _class_paths(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    """Place, category and ``module:Class`` of each object of a class that is named so."""
    for path, category, name, kwargs in find_objects(config):
        for part in name.split("+") if is_sum(category, name) else [name]:
            if ":" in part:
                yield path, category, part.strip()
        if category == "strategy":
            for part, own in _own_parts(kwargs):
                yield (*path, name), part, own


def _own_parts(options: Any) -> Iterator[tuple[str, str]]:
    """Class paths of estimators and probes in the options of a strategy or of a part of a sum."""
    for key, value in children(options):
        if key == "estimator":
            yield from (("estimator", name) for name in _paths([value]))
        elif key == "probes":
            images = value.get("images", ()) if isinstance(value, dict) else value
            yield from (("probe", name) for name in _paths([images]))
        else:
            yield from _own_parts(value)


def _paths(values: Iterable[Any]) -> Iterator[str]:
    """What is written ``module:name`` in a list, in lists in it, or as the key of a mapping."""
    for value in values:
        if isinstance(value, str) and ":" in value:
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from _paths(value)


def _is_allowed(module: str, allowed: Sequence[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def _is_offered(category: str, name: str) -> bool:
    """Whether a class could be named without its module too, or is at least of the same kind."""
    module_name, _, attribute = name.partition(":")
    if module_name.split(".")[0] not in TRUSTED:
        return False
    try:
        member = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError):
        return True  # said where the class is looked up
    if category in ("estimator", "probe"):
        package = f"pml_incremental.{category}s."
        return str(getattr(member, "__module__", "")).startswith(package)
    return offers(category, attribute, member)


def find_own_modules() -> None:
    """Let Python find the user's own ``my_module:MyClass`` in the working folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
