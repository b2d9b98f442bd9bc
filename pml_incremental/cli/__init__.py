"""The command line."""

from pml_incremental.cli import commands, compare, export, gallery, init, report, update
from pml_incremental.cli.commands import app, main

for command in (init, commands, update, compare, report, export, gallery):
    command.register(app)

__all__ = ["main"]
