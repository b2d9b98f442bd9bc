"""The command ``pml-incremental init``, and what ``run --data`` does in its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pml_incremental.cli.common import (
    SkipBadImages,
    check_folders,
    clean_errors,
    on_bad_image,
    program,
)
from pml_incremental.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from pml_incremental.suggestions.survey import Survey

NOT_TRAINED = ModelOptions()


def register(app: typer.Typer) -> None:
    """Add the command to a Typer app."""
    app.command(epilog="Example: pml-incremental init my_run --data my_folder")(init)


@takes_model(says="A trained model that will learn these classes and keep its own.")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the run; writes NAME.yaml.")],
    data: Annotated[Path, typer.Option(help="Your images, one folder per class.")],
    trained: ModelOptions = NOT_TRAINED,
    tasks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of tasks to learn the classes in; default: 2, or 4 if there are many.",
        ),
    ] = None,
    skip_bad_images: SkipBadImages = False,
) -> None:
    """Look through a folder of images and write a config for it, with comments."""
    with clean_errors():
        from pml_incremental.config.yaml_files import YAML_SUFFIXES

        file = Path(name) if Path(name).suffix in YAML_SUFFIXES else Path(f"{name}.yaml")
        check_folders({"--data": data})
        survey = write_config(file, data, skip_bad_images, trained, tasks)
        _describe(survey)
        typer.echo(f"written: {file}; next: {program()} run {file}")


def config_of_folder(data: Path, skip_bad_images: bool = False, progress: bool = True) -> Path:
    """The config in ``runs/`` for a folder; written, and that said, if there is none yet."""
    from pml_incremental.config import ConfigError, load_config
    from pml_incremental.suggestions.choices import (
        FROM_SCRATCH,
        is_efficientnet_there,
        trunk_at_hand,
    )
    from pml_incremental.suggestions.survey import survey_folder

    called = re.sub(r"[^A-Za-z0-9_-]", "_", data.resolve().name)
    file = Path("runs") / f"{called}.yaml"
    if not file.exists():
        _describe(write_config(file, data, skip_bad_images, progress=progress))
        typer.echo(f"written: {file}; edit it to change how it learns")
        return file
    config = load_config([file])
    root = Path(str(config.dataset.kwargs.get("root")))
    if root.resolve() != data.resolve():
        raise ConfigError(
            [f"command line: --data: {file} is for {root}, not for {data}; move that file away"]
        )
    typer.echo(f"found: {file}")
    if config.models.trunk.class_name in FROM_SCRATCH and is_efficientnet_there():
        found = trunk_at_hand(survey_folder(data, on_bad_image(skip_bad_images), progress=progress))
        if found.is_pretrained:
            typer.echo(
                "note: its network starts from scratch, but a pretrained one is installed now; "
                f"{program()} init OTHER_NAME --data {data} writes a config with it"
            )
    return file


def _describe(survey: Survey) -> None:
    """Say what is in a folder, and with what network it will be learned."""
    from pml_incremental.suggestions.choices import trunk_at_hand

    for line in survey.describe():
        typer.echo(line)
    trunk = trunk_at_hand(survey)
    typer.echo(f"network: {trunk.note}")


def write_config(
    file: Path,
    data: Path,
    skip_bad_images: bool = False,
    trained: ModelOptions = NOT_TRAINED,
    tasks: int | None = None,
    progress: bool = True,
) -> Survey:
    """Write a new config for a folder, once it has been found valid."""
    from pml_incremental.config import ConfigError, config_from, parse_yaml, validate
    from pml_incremental.experiment.trained_weights import TrainedWeights
    from pml_incremental.experiment.updating.update_config import trained_first_config
    from pml_incremental.storage import write_text_whole
    from pml_incremental.suggestions.choices import first_config
    from pml_incremental.suggestions.survey import survey_folder

    if file.exists():
        raise ConfigError([f"{file} exists; choose another name, or delete it"])
    if not re.fullmatch(r"[A-Za-z0-9_-]+", file.stem):
        raise ConfigError(
            [f"command line: {file.stem!r} is not a valid name; use letters, digits, _ and -"]
        )
    survey = survey_folder(data, on_bad_image(skip_bad_images), progress=progress)
    heading = f"{file.stem}, made for the images in {data}. pml-incremental run {file}"
    if trained.weights is not None and tasks not in (None, 1):
        raise ConfigError(["command line: --tasks: what --weights learn is one task; leave it out"])
    if trained.weights is None:
        text = first_config(survey, file.stem, heading, tasks)
    else:
        found = TrainedWeights.read(trained.weights, **trained.about_weights)
        text = trained_first_config(found, survey, file.stem, heading)
    validate(config_from([(str(file), parse_yaml(text))], (), str(file)))
    write_text_whole(file, text)
    return survey
