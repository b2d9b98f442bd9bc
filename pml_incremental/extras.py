"""Optional packages, and what is said where one is missing."""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtraError(ModuleNotFoundError):
    """What was asked for needs a package that is not installed; it says how to get it."""


def require(package: str, what: str, extra: str, or_else: str = "") -> None:
    """Check that an optional package is there, before it is imported."""
    if find_spec(package) is None:
        install = f'pip install "pml-incremental[{extra}]"'
        raise MissingExtraError(
            f"{what} needs {package}: {install}" + (f", or {or_else}" if or_else else "")
        )
