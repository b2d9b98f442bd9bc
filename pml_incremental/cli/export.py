"""The command ``pml-incremental export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pml_incremental.cli.common import check_folders, clean_errors
from pml_incremental.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from PIL.Image import Image


def register(app: typer.Typer) -> None:
    """Add the command to a Typer app."""
    app.command(epilog="Example: pml-incremental export runs/shop shop_model --task 2")(export)


@takes_model(says="Folder of a run, or a file of weights.", required=True, metavar="RUN|WEIGHTS")
def export(
    trained: ModelOptions,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.")],
    strategy: Annotated[str | None, typer.Option(help="Of the run; default: the only one.")] = None,
    task: Annotated[
        int | None, typer.Option(min=1, help="The last task learned; default: the run's last.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Pictures to check the ONNX file of WEIGHTS on.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
) -> None:
    """Write a trained model as a folder: weights, config and model card, with --onnx for others."""
    with clean_errors():
        check_folders({"--images": images})
        from pml_incremental.experiment.export import export_model, read_stage
        from pml_incremental.experiment.trained_weights import TrainedWeights

        source, pictures, measured = trained.weights, _pictures(images), ""
        assert source is not None
        if (source / "metrics.json").is_file():
            model, held_out, measured = read_stage(source, strategy, task)
            pictures = pictures or held_out
        elif strategy is not None or task is not None:
            from pml_incremental.config import ConfigError

            raise ConfigError(
                [f"command line: {source} is no run's folder: omit --strategy and --task"]
            )
        else:
            model = TrainedWeights.read(source, **trained.about_weights)
        export_model(model, folder, pictures, measured, onnx)
        written = ", ".join(sorted(path.name for path in folder.iterdir()))
        typer.echo(f"written: {folder}, with {written}")


def _pictures(images: Path | None) -> list[Image]:
    from pml_incremental.experiment.export import CHECKED
    from pml_incremental.gallery.image_files import ImageFiles

    if images is None:
        return []
    files = ImageFiles.under(images)
    return [files.picture(place) for place in range(min(CHECKED, len(files.ids)))]
