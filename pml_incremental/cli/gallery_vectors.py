"""The commands ``pml-incremental gallery import|export|add|remove|fit-map|move``."""

from __future__ import annotations

from dataclasses import replace
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
from pml_incremental.cli.model_options import (
    GALLERYS_MODEL,
    WEIGHTS,
    ModelOptions,
    takes_model,
)
from pml_incremental.wording import counted

if TYPE_CHECKING:
    from pml_incremental.gallery import Gallery, ModelVersion, WeightsModel

Index = Annotated[
    str | None,
    typer.Option(help="faiss's factory string, such as IVF1024,Flat; default: exact search."),
]
VECTOR_FILE = "A .npy, .npz, .safetensors, .parquet or .faiss file"
Place = Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder of a gallery.")]


def register(gallery: typer.Typer) -> None:
    """Add the commands to the group of a Typer app."""
    gallery.command(
        name="import",
        epilog="Example: pml-incremental gallery import vectors.npy shop.gallery --model clip-v1",
    )(import_)
    gallery.command(epilog="Example: pml-incremental gallery export shop.gallery vectors.parquet")(
        export
    )
    gallery.command(
        epilog="Example: pml-incremental gallery add shop.gallery grown.gallery more_images"
    )(add)
    gallery.command(
        epilog="Example: pml-incremental gallery remove shop.gallery smaller.gallery cats/1.png"
    )(remove)
    gallery.command(
        epilog="Example: pml-incremental gallery fit-map old_to_new.safetensors --old shop.gallery "
        "--new new.safetensors --images new_images"
    )(fit_map)
    gallery.command(
        epilog="Example: pml-incremental gallery move old.npy new.npy --map old_to_new.safetensors"
    )(move)


@takes_model(says=f"The model that made the vectors. {WEIGHTS}")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help=f"{VECTOR_FILE}.")],
    target: Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder to write.")],
    trained: ModelOptions,
    model: Annotated[
        str | None, typer.Option(help="Or a name for a model of another program, such as clip-v1.")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="A text file with one name per line, one for each vector.")
    ] = None,
    column: Annotated[str, typer.Option(help="The column of a Parquet file.")] = "vector",
    index: Index = None,
) -> None:
    """Make a gallery from the vectors of another program, without images."""
    with clean_errors():
        from pml_incremental.config import ConfigError
        from pml_incremental.gallery import import_gallery
        from pml_incremental.gallery.gallery import check_place

        check_place(target)
        made_by = trained.model
        if (made_by is None) == (not model):
            raise ConfigError(["command line: name the vectors' model by --weights or by --model"])
        described = {"name": model} if made_by is None else made_by.describe()
        gallery = import_gallery(source, described, ids, column, index)
        gallery.save(target)
        typer.echo(f"written: {target}, {size_of(gallery)}")


def export(
    place: Place,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help=f"{VECTOR_FILE} to write.")],
) -> None:
    """Write a gallery's vectors for another program."""
    with clean_errors():
        check_folders({"GALLERY": place})
        from pml_incremental.gallery import Gallery, export_gallery

        gallery = Gallery.load(place)
        export_gallery(gallery, target)
        typer.echo(f"written: {target}, {size_of(gallery)}")


@takes_model(says=GALLERYS_MODEL)
def add(
    place: Place,
    target: Annotated[Path, typer.Argument(metavar="GROWN", help="Folder to write.")],
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Folder of images, or of another gallery.")
    ],
    trained: ModelOptions,
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Add images, or the vectors of another gallery of the same model."""
    with clean_errors():
        check_folders({"GALLERY": place, "SOURCE": source})
        from pml_incremental.gallery import Gallery, add_to_gallery, build_gallery
        from pml_incremental.gallery.gallery import MANIFEST, check_place

        check_place(target)
        gallery = Gallery.load(place)
        if (source / MANIFEST).is_file():
            more = Gallery.load(source)
        else:
            model, on_bad = trained.model_of(gallery), on_bad_image(skip_bad_images)
            more = build_gallery(source, model, None, on_bad, progress=not quiet)
        grown = add_to_gallery(gallery, more)
        grown.save(target)
        typer.echo(f"written: {target}, {size_of(grown)}")


def remove(
    place: Place,
    target: Annotated[Path, typer.Argument(metavar="SMALLER", help="Folder to write.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Names of the vectors.")],
) -> None:
    """Write a gallery without some of its vectors."""
    with clean_errors():
        check_folders({"GALLERY": place})
        from pml_incremental.gallery import Gallery, remove_from_gallery
        from pml_incremental.gallery.gallery import check_place

        check_place(target)
        smaller = remove_from_gallery(Gallery.load(place), ids)
        smaller.save(target)
        typer.echo(f"written: {target}, {size_of(smaller)}")


@takes_model("--new", "--weights", says=f"The new model. {WEIGHTS}")
def fit_map(
    target: Annotated[Path, typer.Argument(metavar="MAP", help="The .safetensors file to write.")],
    trained: ModelOptions,
    old: Annotated[
        Path | None,
        typer.Option(
            help="The old model: a gallery built with it, or weights that describe their "
            "model, or that the same --config describes."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Images for both models, such as the new ones.")
    ] = None,
    pairs: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Or two files of vectors, OLD NEW, of the same images in the same order."
        ),
    ] = None,
    skip_bad_images: SkipBadImages = False,
    quiet: Quiet = False,
) -> None:
    """Learn a map that moves vectors of an old model to a new one."""
    with clean_errors():
        check_folders({"--images": images})
        from pml_incremental.config import ConfigError
        from pml_incremental.gallery import EmbeddingMap, learn_map
        from pml_incremental.gallery.image_files import ImageFiles
        from pml_incremental.gallery.update import describe_map
        from pml_incremental.gallery.vector_files import read_vectors

        if target.exists():
            raise ConfigError([f"command line: {target} exists; choose another name"])
        new = trained.model
        models = None if old is None or new is None else (_old_model(old, new), new)
        if pairs is not None and images is None:
            before, after = (read_vectors(file).vectors for file in pairs)
            found = EmbeddingMap.fit(before, after)
            if models is not None:
                found = replace(found, old=models[0].describe(), new=models[1].describe())
        elif pairs is None and images is not None and models is not None:
            files = ImageFiles.under(images, on_bad_image(skip_bad_images), not quiet)
            found = learn_map(*models, files, progress=not quiet)
        else:
            raise ConfigError(
                ["command line: give --old, --new and --images, or --pairs OLD.npy NEW.npy"]
            )
        found.save(target)
        typer.echo(describe_map(found))
        typer.echo(f"written: {target}")


def move(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A .npy or .parquet file of any size.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to write.")],
    map_file: Annotated[Path, typer.Option("--map", help="A map written by fit-map.")],
    column: Annotated[str, typer.Option(help="The column of a Parquet file.")] = "vector",
    quiet: Quiet = False,
) -> None:
    """Move the vectors of a file with a map, part by part."""
    with clean_errors():
        from pml_incremental.gallery import EmbeddingMap

        EmbeddingMap.load(map_file).apply_to_file(source, target, not quiet, column)
        typer.echo(f"written: {target}")


def _old_model(place: Path, new: WeightsModel) -> ModelVersion | WeightsModel:
    """The model that a gallery was built with, or of a file that the new one's config describes."""
    from pml_incremental.experiment.trained_weights import TrainedWeights
    from pml_incremental.gallery import ModelVersion
    from pml_incremental.gallery.gallery import read_manifest

    if place.is_dir():
        description = read_manifest(place).model.model_dump(exclude_unset=True)
        return ModelVersion.described(description, new.allow_imports)
    old = replace(new, weights=place.resolve(), embedder=None)
    is_described = TrainedWeights.read(place).recipe is not None
    return replace(old, config=None, weights_prefix="") if is_described else old


def size_of(gallery: Gallery) -> str:
    """How much a gallery holds, for people."""
    kind = "vector" if gallery.files.root is None else "image"
    return f"{counted(len(gallery.vectors), kind)}, {gallery.vectors.shape[1]} numbers each"
