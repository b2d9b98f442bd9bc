"""The command line."""

from pml_incremental.cli import compare, diagnose, gallery, init, report, update
from pml_incremental.cli.commands import app, main

for command in (init, update, compare, report, diagnose, gallery):
    command.register(app)

__all__ = ["main"]
