"""The command line."""

from pml_incremental.cli import commands, compare, diagnose, gallery, init, report, update
from pml_incremental.cli.commands import app, main

for command in (init, commands, update, compare, report, diagnose, gallery):
    command.register(app)

__all__ = ["main"]
