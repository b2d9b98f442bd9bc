"""The command line: run a config, check it, list what configs can name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pml_incremental.cli.common import (
    SKIP_BAD_IMAGES,
    TRACEBACK,
    Arguments,
    Download,
    OptionalArguments,
    Quiet,
    SkipBadImages,
    check_folders,
    clean_errors,
    fetch_dataset,
    load_valid_config,
    named_configs,
    program,
    refuse_several_processes,
    shows_traceback,
)

app = typer.Typer(
    name="pml-incremental",
    help="Incremental image retrieval: learn new classes, keep finding the old ones.",
    epilog="Example: pml-incremental run --data my_folder",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; default: those of this process.

    Returns:
        The exit code: 0, 1 if a run failed, 2 if the config or the command is wrong, 130 or 143 if
        SIGINT or SIGTERM stopped it.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        pml-incremental ...
        0
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if TRACEBACK in given:  # of the program, but taken wherever it stands
        given = [TRACEBACK, *(word for word in given if word != TRACEBACK)]
    try:
        app(args=given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    traceback: Annotated[
        bool, typer.Option(TRACEBACK, help="When a command fails, show where in the code.")
    ] = False,
) -> None:
    from pml_incremental.config.import_checks import find_own_modules

    find_own_modules()
    shows_traceback.set(traceback)
    if version:
        from pml_incremental import __version__

        print(f"pml-incremental {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def register(app: typer.Typer) -> None:
    """Add the commands to a Typer app."""
    app.command(
        epilog="Example: pml-incremental run configs/glyphs.yaml seed=1 "
        "loss_funcs.metric_loss.TripletMarginLoss.margin=0.2"
    )(run)
    app.command(epilog="Example: pml-incremental validate configs/glyphs.yaml num_epochs=2")(
        validate
    )
    app.command(name="list", epilog="Example: pml-incremental list losses")(list_names)


def run(
    arguments: OptionalArguments = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your images, one folder per class, instead of CONFIG: writes a config into "
            "runs/, as init does."
        ),
    ] = None,
    skip_bad_images: SkipBadImages = False,
    download: Download = False,
    quiet: Quiet = False,
) -> None:
    """Learn all tasks with each strategy of a config, and show what each remembers."""
    with clean_errors():
        from pml_incremental.config import ConfigError

        given = list(arguments or [])
        if data is not None:
            given = _with_config_of_folder(data, given, skip_bad_images, not quiet)
        elif skip_bad_images:
            raise ConfigError(
                [
                    f"command line: {SKIP_BAD_IMAGES} is for --data; in a config, on_bad_image: "
                    "skip of the dataset says the same"
                ]
            )
        config = load_valid_config(given, or_else=", or a folder of images with --data")
        from pml_incremental.cli.tables import print_left_out
        from pml_incremental.distributed import process_group
        from pml_incremental.experiment import run as run_experiment
        from pml_incremental.experiment.assembly import choose_device
        from pml_incremental.report import print_summary

        with process_group(choose_device(config.device)) as processes:
            if download:
                processes.on_rank_zero(lambda: fetch_dataset(config))
            result = run_experiment(config, progress=not quiet)
        if not processes.is_rank_zero:
            return
        print_summary(result)
        print_left_out(result.left_out)
        if not result.learned:
            typer.echo(f"{result.folder} was finished already: nothing was left to learn")
        typer.echo(f"written: {result.folder}; next: {program()} report {result.folder}")


def _with_config_of_folder(
    data: Path, given: list[str], skip_bad_images: bool, progress: bool
) -> list[str]:
    """The arguments of ``run`` with the config that is there, or now is, for a folder."""
    from pml_incremental.cli.init import config_of_folder
    from pml_incremental.config import ConfigError

    configs = named_configs(given)
    if configs:
        raise ConfigError(
            [
                f"command line: --data is in place of CONFIG, and {', '.join(configs)} is given "
                "too; leave one of them out"
            ]
        )
    check_folders({"--data": data})
    refuse_several_processes("--data")
    config = str(config_of_folder(data, skip_bad_images, progress))
    # Also where the config was there, and says otherwise.
    skip = ["dataset.ImageFolder.on_bad_image=skip"] if skip_bad_images else []
    return [config, *given, *skip]


def validate(
    arguments: Arguments,
    no_data: Annotated[
        bool,
        typer.Option("--no-data", help="Check only the config, without reading images."),
    ] = False,
) -> None:
    """Check a config and its images without training, and show its tasks."""
    with clean_errors():
        config = load_valid_config(arguments)
        from pml_incremental.cli.tables import print_overview, print_tasks

        if no_data:
            print_overview(config)
            return
        from pml_incremental.config.objects import spec_label
        from pml_incremental.experiment.assembly import checked_scenario, choose_device

        device = choose_device(config.device)
        scenario = checked_scenario(config, progress=True)
        print_overview(config)
        print_tasks(scenario)
        strategies = ", ".join(map(spec_label, config.strategies))
        typer.echo(f"each learned with {strategies}; device: {device}")


def list_names(
    group: Annotated[
        str,
        typer.Argument(
            metavar="GROUP",
            help="configs, datasets, distances, estimators, losses, lr_schedulers, miners, models, "
            "optimizers, record_writers, reducers, regularizers, samplers, scenarios, strategies, "
            "testers, trainers or transforms.",
            show_default=False,
        ),
    ],
) -> None:
    """List the names that a config can use, or the configs that come with the package."""
    with clean_errors():
        from pml_incremental.cli.tables import print_names

        print_names(group)
