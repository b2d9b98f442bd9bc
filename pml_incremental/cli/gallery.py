"""The commands ``pml-incremental gallery ...``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pml_incremental.cli import gallery_stores, gallery_vectors
from pml_incremental.cli.common import (
    Quiet,
    SkipBadImages,
    check_folders,
    clean_errors,
    on_bad_image,
)
from pml_incremental.cli.gallery_vectors import Index, Place, size_of
from pml_incremental.cli.model_options import GALLERYS_MODEL, WEIGHTS, ModelOptions, takes_model

if TYPE_CHECKING:
    from pml_incremental.gallery import Gallery, ModelVersion, UpdateReport, WeightsModel
    from pml_incremental.gallery.image_files import ImageFiles

RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Or the folder of a run; give --strategy and --task too."),
]
Strategy = Annotated[str | None, typer.Option("--strategy", help="Strategy of the run.")]
Task = Annotated[
    int | None, typer.Option("--task", min=1, help="The last task that the model has learned.")
]


def register(app: typer.Typer) -> None:
    """Add the group of commands to a Typer app."""
    gallery = typer.Typer(
        help="A folder of images as a searchable gallery of embeddings.",
        epilog="Example: pml-incremental gallery search shop.gallery queries",
    )
    gallery.command(
        epilog="Example: pml-incremental gallery build images shop.gallery "
        "--weights model.safetensors"
    )(build)
    gallery.command(epilog="Example: pml-incremental gallery search shop.gallery queries")(search)
    gallery_vectors.register(gallery)
    gallery_stores.register(gallery)
    gallery.command(
        epilog="Example: pml-incremental gallery update shop.gallery shop2.gallery "
        "--weights new.safetensors --images new_images --queries queries"
    )(update)
    app.add_typer(gallery, name="gallery")


@takes_model()
def build(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of images.")],
    target: Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder to write.")],
    trained: ModelOptions,
    run: RunOption = None,
    strategy: Strategy = None,
    task: Task = None,
    index: Index = None,
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Embed a folder of images; the folder of an image is its class."""
    with clean_errors():
        check_folders({"IMAGES": images, "--run": run})
        from pml_incremental.gallery import build_gallery
        from pml_incremental.gallery.gallery import check_place
        from pml_incremental.search.approximate import import_faiss

        check_place(target)
        if index is not None:
            import_faiss()
        model, on_bad = _model(trained, run, strategy, task), on_bad_image(skip_bad_images)
        gallery = build_gallery(images, model, index, on_bad, progress=not quiet)
        gallery.save(target)
        typer.echo(f"written: {target}, {size_of(gallery)}")


@takes_model(says=GALLERYS_MODEL)
def search(
    place: Place,
    queries: Annotated[
        Path, typer.Argument(metavar="QUERIES", help="Folder of images, or one image.")
    ],
    trained: ModelOptions,
    k: Annotated[int, typer.Option("-k", min=1, help="Images to find for each query.")] = 5,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path(
        "search.html"
    ),
    compatible: Annotated[
        bool,
        typer.Option(
            "--compatible",
            help="Search with --weights of another model, which embeds like the gallery's: one "
            "that was updated with align or cosine.",
        ),
    ] = False,
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Search a gallery for each image of a folder, and write a page with the results."""
    with clean_errors():
        check_folders({"GALLERY": place, "QUERIES": None if queries.is_file() else queries})
        from pml_incremental.gallery import Gallery, search_gallery
        from pml_incremental.gallery.image_files import ImageFiles
        from pml_incremental.gallery.search import describe_recall, write_result_page

        gallery = Gallery.load(place)
        files = ImageFiles.under(queries, on_bad_image(skip_bad_images), not quiet)
        model = trained.compatible_model() if compatible else trained.model_of(gallery)
        vectors = model.embed(files, not quiet)
        index = None if gallery.index is None else Gallery.read_index(place)
        result = search_gallery(gallery, files, vectors, k, index)
        write_result_page(out, gallery, result)
        typer.echo(describe_recall(result))
        typer.echo(f"written: {out}")


@takes_model(says=f"The new model. {WEIGHTS}")
def update(
    place: Place,
    target: Annotated[Path, typer.Argument(metavar="UPDATED", help="Folder to write.")],
    trained: ModelOptions,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Images that the new model was trained on."),
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", help="Or a map written by fit-map.")
    ] = None,
    run: RunOption = None,
    strategy: Strategy = None,
    task: Task = None,
    model: Annotated[
        str | None,
        typer.Option(help="Or a name for the new model, with a --map made from --pairs."),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Images in folders named by class, to measure Recall@1 with."),
    ] = None,
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Move a gallery into a new model's space without its images."""
    with clean_errors():
        check_folders({"GALLERY": place, "--images": images, "--queries": queries, "--run": run})
        from pml_incremental.config import ConfigError
        from pml_incremental.gallery import (
            EmbeddingMap,
            Gallery,
            ModelVersion,
            learn_map,
            update_gallery,
        )
        from pml_incremental.gallery.gallery import check_place
        from pml_incremental.gallery.image_files import ImageFiles
        from pml_incremental.gallery.update import describe_map

        check_place(target)
        if (images is None) == (map_file is None):
            raise ConfigError(["command line: give --images to learn a map from, or --map"])
        on_bad, progress = on_bad_image(skip_bad_images), not quiet
        asked = None if queries is None else ImageFiles.under(queries, on_bad, progress)
        gallery = Gallery.load(place)
        found = None if map_file is None else EmbeddingMap.load(map_file)
        new: ModelVersion | WeightsModel | None = None
        if model is None and (found is None or found.new is None or trained.weights or run):
            new = _model(trained, run, strategy, task)
        elif asked is not None and found is not None and found.new is not None:
            new = ModelVersion.described(found.new, trained.imports)
        if asked is not None and new is None:
            raise ConfigError(["command line: --queries needs the new model's --weights"])
        old: ModelVersion | WeightsModel | None = None
        if found is None or asked is not None:
            old = ModelVersion.described(gallery.model, trained.imports)
        if found is None:
            if images is None or new is None or old is None:
                raise ConfigError(["command line: --model is for a --map; name the new --weights"])
            files = ImageFiles.under(images, on_bad, progress)
            found = learn_map(old, new, files, progress)
        named = {"name": model} if model is not None else None
        moved = update_gallery(gallery, found, named if new is None else new.describe())
        moved.save(target)
        typer.echo(describe_map(found))
        typer.echo(f"written: {target}, {size_of(moved)}, {moved.history[-1]}")
        if asked is not None:
            assert old is not None
            assert new is not None
            _print_report(_measure(gallery, moved, asked, old, new, progress))


def _model(
    trained: ModelOptions, run: Path | None, strategy: str | None, task: int | None
) -> ModelVersion | WeightsModel:
    """The one model that the options name."""
    from pml_incremental.config import ConfigError
    from pml_incremental.gallery import ModelVersion

    model = trained.model
    if model is not None and run is None and strategy is None and task is None:
        return model
    if model is None and run is not None and strategy is not None and task is not None:
        return ModelVersion(run.resolve(), strategy, task)
    raise ConfigError(
        ["command line: name a model by --weights, or by --run, --strategy and --task"]
    )


def _measure(
    gallery: Gallery,
    moved: Gallery,
    asked: ImageFiles,
    old: ModelVersion | WeightsModel,
    new: ModelVersion | WeightsModel,
    progress: bool,
) -> UpdateReport:
    from pml_incremental.gallery import measure_update

    missing = gallery.files.missing()
    if missing:
        typer.echo(
            f"the gallery is not embedded again, because images are missing: {len(missing)}, "
            f"{missing[0]}, ..."
        )
    anew = None if missing else new.embed(gallery.files, progress)
    answers = old.embed(asked, progress), new.embed(asked, progress)
    return measure_update(gallery, moved, asked, *answers, anew)


def _print_report(report: UpdateReport) -> None:
    from rich.console import Console

    from pml_incremental.report.results import verdict
    from pml_incremental.report.style import percent
    from pml_incremental.report.tables import add_number_columns, bare_table

    lines = {
        "old model, old gallery": report.before,
        "new model, old gallery": report.not_updated,
        "new model, moved gallery": report.updated,
        "new model, gallery embedded again": report.reembedded,
    }
    table = bare_table("Recall@1 of the queries, in %", "asked with")
    add_number_columns(table, ["Recall@1"])
    for name, share in lines.items():
        table.add_row(name, "not measured" if share is None else percent(share))
    Console().print(table)
    typer.echo(verdict({"queries in the moved gallery": report.change}))
