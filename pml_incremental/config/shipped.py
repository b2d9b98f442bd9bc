"""The configs that come with the package, by name."""

from __future__ import annotations

import inspect
import re
import textwrap
from itertools import takewhile
from pathlib import Path
from typing import Any

from pml_incremental.config.errors import ConfigError, nearest, suggest
from pml_incremental.config.registry import members
from pml_incremental.config.yaml_files import YAML_SUFFIXES
from pml_incremental.signatures import signature_of

_DISPLAYED = {"pml_incremental": "pml-incremental", "pytorch_metric_learning": "PML"}
# What reStructuredText adds around words.
_MARKUP = re.compile(r":\w+:|`| ?<[^>]*>`_*|``")

_PACKAGE = Path(__file__).parents[1]


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package.

    Returns:
        Files by name, in alphabetical order; those in a folder are called ``folder/name``.

    Example:
        >>> shipped_configs()["losses/rkd"].name
        'rkd.yaml'
    """
    installed = _PACKAGE / "configs"
    # In a checkout they lie beside the package.
    folder = installed if installed.is_dir() else _PACKAGE.parent / "configs"
    files = [*folder.glob("*.yaml"), *(folder / "losses").glob("*.yaml")]
    named = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return dict(sorted(named.items()))


def find_config(text: str) -> Path:
    """The file that a command line means.

    Args:
        text: a path that ends in ``.yaml`` or ``.yml``, or the name of a shipped config.

    Returns:
        The path as it is given, or that of the shipped config.

    Raises:
        ConfigError: if it is neither, or if a path leads nowhere and a shipped config has its name
            or, with no other .yaml file beside it, one that is near.

    Example:
        >>> find_config("glyphs").name
        'glyphs.yaml'
    """
    path, shipped = Path(text), shipped_configs()
    if path.suffix not in YAML_SUFFIXES:
        if text in shipped:
            return shipped[text]
        files = (Path(text + suffix) for suffix in YAML_SUFFIXES)
        file = next(filter(Path.is_file, files), None)
        near = suggest(text, shipped) if file is None else f"did you mean the file {file}?"
        hint = near if near.startswith("did") else "write one of them"
        what = "a .yaml file nor key=value nor one of 'pml-incremental list configs'"
        raise ConfigError([f"command line: {text!r} is neither {what}; {hint}"])
    name = path.with_suffix("").as_posix().removeprefix("configs/")
    if path.exists():
        return path
    if name in shipped:
        raise ConfigError(
            [f"{path}: there is no such file; {name!r} comes with the package, write that"]
        )
    meant = nearest(name, shipped)
    if meant is not None and not any(path.parent.glob("*.y*ml")):
        hint = f"did you mean {meant!r}, which comes with the package?"
        raise ConfigError([f"{path}: there is no such file; {hint}"])
    return path


def first_sentence(file: Path) -> str:
    """What the comment at the top of a config says first.

    Example:
        >>> first_sentence(shipped_configs()["losses/rkd"])
        'Park et al., CVPR 2019: distances and angles between embeddings.'
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    sentence = " ".join(comment).split(". ")[0].rstrip(".")
    return sentence if sentence.endswith("?") else sentence + "."


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
