"""The command ``pml-incremental report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pml_incremental.cli.common import (
    Quiet,
    SkipBadImages,
    check_folders,
    clean_errors,
    on_bad_image,
)
from pml_incremental.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from pml_incremental.report.page import RunDetails, RunRecord


def register(app: typer.Typer) -> None:
    """Add the commands to a Typer app."""
    app.command(epilog="Example: pml-incremental report runs/glyphs --details")(report)
    app.command(epilog="Example: pml-incremental diagnose runs/glyphs_sequential")(diagnose)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of finished runs.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write; default: report.html in the first RUN."
        ),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Run the models again, for intervals, forgotten classes and queries, old indexes, "
            "and estimates of earlier models.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about one or several runs; it needs no network."""
    from pml_incremental.report.page import RunRecord, write_page

    with clean_errors():
        records = [RunRecord.read(run) for run in runs]
        closer = _examine(runs, not quiet) if details else {}
        if details:
            pairs = zip(runs, records, strict=True)
            records = [_diagnosed(run, record, not quiet) for run, record in pairs]
        target = runs[0] / "report.html" if out is None else out
        write_page(target, records, closer)
    typer.echo(f"written: {target}")


def _examine(folders: list[Path], progress: bool) -> dict[tuple[int, str], RunDetails]:
    from tqdm import tqdm

    from pml_incremental.experiment.finished_run import FinishedRun, collect_details

    runs = [FinishedRun(folder) for folder in folders]
    found = {}
    # Each stage of a strategy, and the comparison of them all.
    steps = sum(len(run.strategies) * (len(run.scenario) + 1) for run in runs)
    with tqdm(total=steps, disable=not progress) as bar:
        for place, run in enumerate(runs):
            for strategy in run.strategies:
                bar.set_description(f"asking {run.config.name}, {strategy}")
                found[place, strategy] = collect_details(run, strategy, bar.update)
                bar.update()
    return found


def _diagnosed(folder: Path, record: RunRecord, progress: bool) -> RunRecord:
    """A record with its diagnosis, which is made if the run allows one and has none yet."""
    from pml_incremental.experiment import diagnose
    from pml_incremental.experiment.diagnosis.bank_replay import UnfitRunError
    from pml_incremental.report.page import RunRecord

    if record.diagnosis is not None:
        return record
    try:
        diagnose(folder, progress=progress)
    except UnfitRunError as error:
        typer.echo(f"no estimates of earlier models: {error}", err=True)
        return record
    return RunRecord.read(folder)


@takes_model(says="Or the newest of several checkpoints.")
def diagnose(
    trained: ModelOptions,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run of 3 or more tasks.", show_default=False
        ),
    ] = None,
    prior: Annotated[
        list[Path] | None,
        typer.Option(help="An earlier checkpoint; as often as you like, the oldest first."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Images for checkpoints, in a folder for each class.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to write of checkpoints.")
    ] = Path("diagnosis"),
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Compare estimates of a run's earlier models, or checkpoints, with those models themselves."""
    with clean_errors():
        from pml_incremental.config import ConfigError
        from pml_incremental.experiment import diagnose as diagnose_run
        from pml_incremental.experiment.diagnosis.bank_replay import UnfitRunError
        from pml_incremental.experiment.diagnosis.checkpoints import diagnose_checkpoints
        from pml_incremental.experiment.trained_weights import TrainedWeights
        from pml_incremental.report import print_diagnosis

        if run is not None and trained.weights is None and data is None and not prior:
            try:
                diagnosis, folder = diagnose_run(run, progress=not quiet), run
            except UnfitRunError as error:
                typer.echo(str(error), err=True)
                raise typer.Exit(2) from error
        elif run is None and trained.weights is not None and data is not None:
            check_folders({"--data": data})
            newest = TrainedWeights.read(trained.weights, **trained.about_weights)
            diagnosis = diagnose_checkpoints(
                newest,
                prior or [],
                data,
                out,
                on_bad_image=on_bad_image(skip_bad_images),
                progress=not quiet,
            )
            folder = out
        else:
            raise ConfigError(["command line: name a RUN alone, or --weights, --prior and --data"])
        print_diagnosis(diagnosis)
        names = ("diagnosis.json", "diagnosis.csv", "pictures/estimation_error.png")
        typer.echo(f"written: {', '.join(str(folder / name) for name in names)}")
