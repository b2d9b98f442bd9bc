"""The command ``pml-incremental gallery move-store``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pml_incremental.cli.common import Quiet, clean_errors
from pml_incremental.wording import counted

if TYPE_CHECKING:
    from pml_incremental.gallery import EmbeddingMap
    from pml_incremental.stores import Versions

URL = "lancedb:FOLDER, qdrant:FOLDER, qdrant:http://HOST:6333 or postgresql://USER@HOST/DATABASE."


def register(gallery: typer.Typer) -> None:
    """Add the command to the group of a Typer app."""
    gallery.command(
        epilog="Example: pml-incremental gallery move-store postgresql://me@host/shop "
        "--table images --map old_to_new.safetensors"
    )(move_store)


def move_store(
    url: Annotated[str, typer.Argument(metavar="URL", help=URL)],
    table: Annotated[str, typer.Option(help="The table; in Qdrant, the alias of a collection.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", help="A map written by fit-map.")
    ] = None,
    id_column: Annotated[str, typer.Option(help="The column that names rows.")] = "id",
    vector_column: Annotated[str, typer.Option(help="The column that programs search.")] = "vector",
    old: Annotated[str | None, typer.Option(help="Old model's name, for a map of --pairs.")] = None,
    new: Annotated[str | None, typer.Option(help="New model's name, for a map of --pairs.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows in one write.")] = 4096,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and count.")] = False,
    cut_over: Annotated[
        bool, typer.Option("--cut-over", help="Let programs search the moved vectors.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Let programs search the old vectors again.")
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete the old vectors after a cutover.")
    ] = False,
    drop_new: Annotated[
        bool, typer.Option("--drop-new", help="Delete the moved vectors before a cutover.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Move the vectors of LanceDB, Qdrant or PostgreSQL; the old ones stay until --drop-old."""
    with clean_errors():
        from pml_incremental import stores
        from pml_incremental.config import ConfigError

        steps = {
            "--dry-run": dry_run,
            "--cut-over": cut_over,
            "--roll-back": roll_back,
            "--drop-old": drop_old,
            "--drop-new": drop_new,
        }
        if sum(steps.values()) > 1:
            raise ConfigError([f"command line: give one of {', '.join(steps)}"])
        found, versions = None, None
        if not roll_back and not drop_new:
            found, versions = _named(map_file, old, new)
        with closing(
            stores.open_store(url, table, stores.Fields(id_column, vector_column))
        ) as store:
            if roll_back:
                stores.roll_back(store)
                said = "rolled back: programs search the old vectors; the moved ones are kept"
            elif drop_new:
                stores.drop_new(store)
                said = "dropped: the moved vectors"
            else:
                assert found is not None
                assert versions is not None
                if cut_over:
                    stores.cut_over(store, versions)
                    said = "cut over: programs search the moved vectors. --roll-back undoes it"
                elif drop_old:
                    stores.drop_old(store, versions)
                    said = "dropped: the old vectors"
                else:
                    done = stores.move_store(store, found, versions, batch, dry_run, not quiet)
                    held = counted(done.total, "vector")
                    said = (
                        f"{held}, {done.pending} to move; nothing is written"
                        if dry_run
                        else f"{held}, {done.moved} moved, {done.pending} left. "
                        "Programs search the old ones until --cut-over"
                    )
        typer.echo(said)


def _named(
    map_file: Path | None, old: str | None, new: str | None
) -> tuple[EmbeddingMap, Versions]:
    """The map, and what tells its models apart."""
    from pml_incremental.config import ConfigError
    from pml_incremental.gallery import EmbeddingMap
    from pml_incremental.stores import Versions

    if map_file is None:
        raise ConfigError(["command line: give the --map, which names both models"])
    found = EmbeddingMap.load(map_file)
    versions = Versions(_version("--old", old, found.old), _version("--new", new, found.new))
    return found, versions


def _version(option: str, name: str | None, model: Mapping[str, Any] | None) -> str:
    """What tells a model apart: what the map says of it, or else the name that is given."""
    from pml_incremental.config import ConfigError
    from pml_incremental.gallery.model_version import identity

    if name is None and model is not None:
        return identity(model)
    if name is not None and model is None:
        return name
    what = "the map does not know its models: name this one"
    if name is not None:
        what = "the map names the model itself: omit it"
    raise ConfigError([f"command line: {option}: {what}"])
