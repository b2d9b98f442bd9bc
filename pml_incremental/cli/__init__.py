"""The command line."""

from pml_incremental.cli.commands import main

__all__ = ["main"]
