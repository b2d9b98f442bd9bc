"""The command ``pml-incremental diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pml_incremental.cli.common import (
    Quiet,
    clean_errors,
)


def register(app: typer.Typer) -> None:
    """Add the command to a Typer app."""
    app.command(epilog="Example: pml-incremental diagnose runs/glyphs_sequential")(diagnose)


def diagnose(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run of 3 or more tasks.", show_default=False
        ),
    ],
    quiet: Quiet = False,
) -> None:
    """Compare estimates of a run's earlier models with those models themselves."""
    with clean_errors():
        from pml_incremental.experiment import diagnose as diagnose_run
        from pml_incremental.experiment.diagnosis.stored_run import UnfitRunError
        from pml_incremental.report import print_diagnosis

        try:
            diagnosis = diagnose_run(run, progress=not quiet)
        except UnfitRunError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        print_diagnosis(diagnosis)
        names = ("diagnosis.json", "diagnosis.csv", "pictures/estimation_error.png")
        typer.echo(f"written: {', '.join(str(run / name) for name in names)}")
