"""The command line: run a config, check it, list what configs can name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pml_incremental.config import ExperimentConfig

app = typer.Typer(
    name="pml-incremental",
    help="Incremental image retrieval: learn new classes, keep finding the old ones.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG|KEY.SUB=VALUE",
        help="YAML files, later ones laid over earlier ones, then single keys to change.",
        show_default=False,
    ),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; default: those of this process.

    Returns:
        The exit code: 0, 1 if a run failed, 2 if the config or the command is wrong.

    Example:
        >>> main(["--version"])
        pml-incremental 0.1.0
        0
    """
    try:
        app(args=None if arguments is None else list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from pml_incremental import __version__

        print(f"pml-incremental {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command(
    epilog="Example: pml-incremental run configs/glyphs.yaml seed=1 "
    "loss_funcs.metric_loss.TripletMarginLoss.margin=0.2"
)
def run(
    arguments: Arguments,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="When a run fails, show where in the code.")
    ] = False,
) -> None:
    """Learn all tasks with each strategy of a config, and show what is remembered."""
    with _clean_errors(traceback):
        config = _load(arguments)
        from pml_incremental.experiment import run as run_experiment
        from pml_incremental.report import print_summary

        print_summary(run_experiment(config, progress=not quiet))


@app.command(epilog="Example: pml-incremental validate configs/glyphs.yaml num_epochs=2")
def validate(arguments: Arguments) -> None:
    """Check a config without training, and show what it would run."""
    with _clean_errors():
        config = _load(arguments)
        from pml_incremental.cli.tables import print_overview

        print_overview(config)


@app.command(name="list", epilog="Example: pml-incremental list losses")
def list_names(
    group: Annotated[
        str,
        typer.Argument(
            help="datasets, distances, losses, lr_schedulers, miners, models, optimizers, "
            "reducers, regularizers, samplers, scenarios, strategies, testers, trainers or "
            "transforms.",
            show_default=False,
        ),
    ],
) -> None:
    """List the names that a config can use."""
    with _clean_errors():
        from pml_incremental.cli.tables import print_names

        print_names(group)


def _load(arguments: Sequence[str]) -> ExperimentConfig:
    """A config that has passed every check."""
    from pml_incremental.config import ConfigError, load_config, validate

    overrides = [text for text in arguments if "=" in text and "/" not in text.split("=")[0]]
    files = [text for text in arguments if text not in overrides]
    strange = [text for text in files if Path(text).suffix not in (".yaml", ".yml")]
    if strange:
        raise ConfigError(
            [
                f"command line: {text!r} is neither a .yaml file nor key=value; write one of them"
                for text in strange
            ]
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for the user's own my_module:MyClass
    config = load_config([Path(text) for text in files], overrides)
    validate(config)
    return config


@contextmanager
def _clean_errors(traceback: bool = True) -> Iterator[None]:
    """What the user can put right is said in a message alone, and sets the exit code."""
    from pml_incremental.config import ConfigError

    try:
        yield
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (ValueError, OSError) as error:
        if traceback:
            raise
        typer.echo(f"{error}\n(--traceback shows where in the code)", err=True)
        raise typer.Exit(1) from error
