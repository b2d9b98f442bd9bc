"""What the commands have in common."""

from __future__ import annotations

import dis
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pml_incremental.config import ExperimentConfig
    from pml_incremental.datasets.image_files import OnBadImage

_ARGUMENTS = typer.Argument(
    metavar="CONFIG|KEY.SUB=VALUE",
    help="YAML files, or names that 'list configs' shows; later ones override earlier ones. "
    "KEY.SUB=VALUE changes a single key.",
    show_default=False,
)
Arguments = Annotated[list[str], _ARGUMENTS]
OptionalArguments = Annotated[list[str] | None, _ARGUMENTS]
Download = Annotated[
    bool, typer.Option("--download", help="Download the config's dataset first, if it is missing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
NAME = "pml-incremental"
SKIP_BAD_IMAGES = "--skip-bad-images"
SkipBadImages = Annotated[
    bool, typer.Option(SKIP_BAD_IMAGES, help="Leave out images that cannot be read.")
]
TRACEBACK = "--traceback"
#: Whether that option was given.
shows_traceback: ContextVar[bool] = ContextVar("shows_traceback", default=False)


def program() -> str:
    """How this program is called from here: by its name, or by its path where PATH lacks it.

    tox and ``.venv/bin/pml-incremental`` start what the shell that is returned to does not find.
    """
    own = os.environ.get("TOX_ENV_DIR")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    found = [folder for folder in folders if own is None or Path(own) not in folder.parents]
    started = Path(sys.argv[0])
    is_on_path = shutil.which(NAME, path=os.pathsep.join(map(str, found))) is not None
    if is_on_path or started.stem != NAME or not started.is_file():
        return NAME
    started = started.absolute()
    here = Path.cwd()
    return str(started.relative_to(here) if here in started.parents else started)


def load_valid_config(
    arguments: Sequence[str], download: bool = False, or_else: str = ""
) -> ExperimentConfig:
    """A config that has passed every check, its dataset fetched if that is asked for."""
    import pml_incremental.needs_pml_2  # noqa: F401
    from pml_incremental.config import ConfigError, find_config, load_config, validate

    names = named_configs(arguments)
    if not names:
        raise ConfigError(
            [
                "command line: no config is given; name a .yaml file or one of "
                f"'pml-incremental list configs'{or_else}"
            ]
        )
    config = load_config(
        [find_config(name) for name in names], [text for text in arguments if text not in names]
    )
    validate(config)
    if download:
        fetch_dataset(config)
    return config


def named_configs(arguments: Sequence[str]) -> list[str]:
    """Those that name configs; the others change single keys."""
    return [text for text in arguments if "=" not in text or "/" in text.split("=")[0]]


def on_bad_image(skip_bad_images: bool) -> OnBadImage:
    """What the option says, as datasets take it."""
    return "skip" if skip_bad_images else "raise"


def check_folders(folders: Mapping[str, Path | None]) -> None:
    """Refuse paths that are no folders."""
    from pml_incremental.config import ConfigError

    problems = [
        f"command line: {name}: {folder} is not a folder"
        for name, folder in folders.items()
        if folder is not None and not folder.is_dir()
    ]
    if problems:
        raise ConfigError(problems)


def refuse_several_processes(option: str) -> None:
    """Refuse under torchrun what one process has to do."""
    from pml_incremental.config import ConfigError
    from pml_incremental.distributed.launch import are_several_launched

    if are_several_launched():
        raise ConfigError(
            [
                f"command line: {option} writes a config, and several processes would do so at "
                "once: write it with pml-incremental init, and start the processes with that"
            ]
        )


def fetch_dataset(config: ExperimentConfig) -> None:
    """Build the dataset once with ``download``, so that the config itself need not say it."""
    from pml_incremental.config import ConfigError, ObjectSpec, resolve
    from pml_incremental.signatures import signature_of

    name, kwargs = config.dataset.class_name, config.dataset.kwargs
    if "download" not in signature_of(resolve("dataset", name)).parameters:
        raise ConfigError([f"command line: --download: {name} cannot be downloaded; omit it"])
    ObjectSpec(class_name=name, kwargs={**kwargs, "download": True}).build("dataset")


@contextmanager
def clean_errors() -> Iterator[None]:
    """What the user can put right is said in a message alone, and sets the exit code.

    With ``--traceback``, errors other than those of a config are let through.
    """
    from pml_incremental.config import ConfigError
    from pml_incremental.distributed.launch import is_first_process, is_said_by_another
    from pml_incremental.distributed.processes import FirstProcessError
    from pml_incremental.extras import MissingExtraError

    try:
        yield
    except KeyboardInterrupt as stop:
        if is_first_process():
            typer.echo(str(stop) or "stopped", err=True)
        raise typer.Exit(getattr(stop, "exit_code", 130)) from stop
    except (ConfigError, MissingExtraError) as error:
        if is_first_process():
            typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except FirstProcessError as error:  # which says it itself
        raise typer.Exit(1) from error
    except (ValueError, TypeError, OSError) as error:
        if shows_traceback.get():
            raise
        if is_said_by_another(error):
            raise typer.Exit(1) from error
        hint = "" if _is_meant_for_users(error) else f"\n({TRACEBACK} shows where in the code)"
        who = "" if is_first_process() else f"process {os.environ['RANK']}: "
        typer.echo(f"{who}{error}{hint}", err=True)
        raise typer.Exit(1) from error


def _is_meant_for_users(error: Exception) -> bool:
    """Whether it names a file, or a ``raise`` in this package wrote it: then it says what to do."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    is_ours = Path(__file__).parents[1] in Path(code.co_filename).parents
    return is_ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
