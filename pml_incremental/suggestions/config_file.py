"""A config as a file that explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pml_incremental.config import dump_yaml


def commented_yaml(
    values: Mapping[str, Any], comments: Mapping[str, str], heading: str = ""
) -> str:
    """A config as YAML, with comments above its keys.

    Args:
        values: of the config.
        comments: by key, of one or several lines.
        heading: of the file, of one or several lines.

    Returns:
        YAML text that reads back as the values.

    Example:
        >>> print(commented_yaml({"seed": 0, "sampler": None}, {"seed": "Of all choices."}), end="")
        # Of all choices.
        seed: 0
        sampler: null
    """
    parts = [_comment(heading)]
    for key, value in values.items():
        is_single = not isinstance(value, dict | list)
        comment = _comment(comments.get(key, ""))
        gap = "\n" if comment and any(parts) else ""
        parts += [gap, comment, dump_yaml({key: value}, compact=not is_single)]
    return "".join(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())
