"""What is wrong with a config, said so that it can be corrected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ConfigError(ValueError):
    """Everything that is wrong with a config, one line for each problem.

    Args:
        problems: lines such as ``"run.yaml: seed: should be a valid integer, got 'x'"``.

    Example:
        >>> ConfigError(["run.yaml: sed: unknown key; did you mean 'seed'?"]).problems
        ("run.yaml: sed: unknown key; did you mean 'seed'?",)
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest right spelling, or else all of them.

    Args:
        name: what was written.
        known: what could have been written.

    Returns:
        An end for an error message.

    Example:
        >>> suggest("magrin", ["margin", "swap"])
        "did you mean 'margin'?"
        >>> suggest("x", ["margin", "swap"])
        'known: margin, swap'
    """
    known = list(known)
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known: {', '.join(sorted(_by_lower_case(known).values())) or 'none'}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest right spelling, if one is near."""
    by_lower_case = _by_lower_case(known)
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[near[0]] if near else None


def _by_lower_case(names: Iterable[str]) -> dict[str, str]:
    return {name.lower(): name for name in sorted(names, reverse=True)}
