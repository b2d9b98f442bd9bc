"""The command line."""

from pml_incremental.cli import diagnose as _diagnose  # noqa: F401  # this registers the command
from pml_incremental.cli.commands import main

__all__ = ["main"]
