"""The command ``pml-incremental update``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pml_incremental.cli.common import (
    Quiet,
    SkipBadImages,
    check_folders,
    clean_errors,
    on_bad_image,
)
from pml_incremental.cli.model_options import ModelOptions, takes_model


def register(app: typer.Typer) -> None:
    """Add the command to a Typer app."""
    app.command(
        epilog="Example: pml-incremental update --weights old.safetensors --data new_images "
        "--out new.safetensors --test old_test_images"
    )(update)


@takes_model(required=True)
def update(
    trained: ModelOptions,
    data: Annotated[Path, typer.Option(help="New images, one folder per class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Single keys to change.", show_default=False),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="Images to test both models with; can be given several times."),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="How to keep the old classes; options as in YAML.")
    ] = "function-matching",
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Teach a trained model new classes from their images alone, and keep the old classes."""
    with clean_errors():
        check_folders({"--data": data, **{f"--test {folder}": folder for folder in test or []}})
        from pml_incremental.experiment import update as update_weights
        from pml_incremental.report import print_update
        from pml_incremental.report.results import verdict

        assert trained.weights is not None
        done = update_weights(
            trained.weights,
            data,
            out,
            tests=test or [],
            strategy=strategy,
            **trained.about_weights,
            overrides=overrides or [],
            on_bad_image=on_bad_image(skip_bad_images),
            progress=not quiet,
        )
        print_update(done)
        if done.changes:
            typer.echo(verdict(done.changes))
        if done.new_share is not None:
            typer.echo(f"merged weights: {done.new_share:.0%} new, the rest old")
        if done.rotated is not None:
            helps = "rotated" if done.rotated else "not rotated, as it helps no classes held out"
            typer.echo(f"align: {helps}")
        typer.echo(f"written: {done.file}; how it was learned: {done.folder}")
