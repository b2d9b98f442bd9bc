"""The command line."""

from pml_incremental.cli import compare, diagnose, gallery, report
from pml_incremental.cli.commands import app, main

for command in (compare, report, diagnose, gallery):
    command.register(app)

__all__ = ["main"]
