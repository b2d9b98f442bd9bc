"""What the commands have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pml_incremental.config import ExperimentConfig

Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG|KEY.SUB=VALUE",
        help="YAML files or names that 'list configs' shows, later ones laid over earlier ones, "
        "then single keys to change.",
        show_default=False,
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the config's dataset first, if it is not there.")
]
TRACEBACK_HINT = "\n(--traceback shows where in the code)"


def load_valid_config(arguments: Sequence[str], download: bool = False) -> ExperimentConfig:
    """A config that has passed every check, its dataset fetched if that is asked for."""
    from pml_incremental.config import find_config, load_config, validate

    overrides = [text for text in arguments if "=" in text and "/" not in text.split("=")[0]]
    files = [find_config(text) for text in arguments if text not in overrides]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for the user's own my_module:MyClass
    config = load_config(files, overrides)
    validate(config)
    if download:
        _fetch_dataset(config)
    return config


def _fetch_dataset(config: ExperimentConfig) -> None:
    """Build the dataset once with ``download``, so that the config itself need not say it."""
    from pml_incremental.config import ConfigError, ObjectSpec, resolve
    from pml_incremental.config.signatures import signature_of

    name, kwargs = config.dataset.class_name, config.dataset.kwargs
    if "download" not in signature_of(resolve("dataset", name)).parameters:
        raise ConfigError([f"command line: --download: {name} is not to be downloaded; omit it"])
    ObjectSpec(class_name=name, kwargs={**kwargs, "download": True}).build("dataset")


@contextmanager
def clean_errors(traceback: bool = False, hint: str = "") -> Iterator[None]:
    """What the user can put right is said in a message alone, and sets the exit code.

    Args:
        traceback: let errors other than those of a config through, with their traceback.
        hint: added to their message.
    """
    from pml_incremental.config import ConfigError

    try:
        yield
    except KeyboardInterrupt as stop:
        typer.echo(str(stop) or "stopped", err=True)
        raise typer.Exit(getattr(stop, "exit_code", 130)) from stop
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (ValueError, TypeError, OSError) as error:
        if traceback:
            raise
        typer.echo(f"{error}{hint}", err=True)
        raise typer.Exit(1) from error
