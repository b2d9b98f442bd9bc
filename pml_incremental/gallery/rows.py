"""Galleries with rows added or left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pml_incremental.gallery.gallery import Gallery
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.model_version import identity
from pml_incremental.wording import counted


def add_to_gallery(gallery: Gallery, more: Gallery) -> Gallery:
    """A gallery with the rows of another one of the same model behind its own.

    Args:
        gallery: the first rows.
        more: the rows to add.

    Returns:
        A gallery with both; the search index is that of the first. Where the images of the two are
        in different folders, ids become paths below the folder that holds both.

    Raises:
        ValueError: if the models or widths differ, or an id is in both.
    """
    if identity(gallery.model) != identity(more.model):
        raise ValueError(
            f"the vectors to add are of another model ({identity(more.model)}) than the gallery's "
            f"({identity(gallery.model)}): move one of them first"
        )
    widths = gallery.vectors.shape[1], more.vectors.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(f"vectors of width {widths[1]} cannot join those of width {widths[0]}")
    first, second = _below_one_root(gallery.files, more.files)
    ids = checked_ids(first.ids + second.ids, None)
    files = ImageFiles(first.root, ids, first.labels + second.labels)
    history = (*gallery.history, f"{counted(len(more.files.ids), 'row')} added")
    vectors = torch.cat([gallery.vectors, more.vectors])
    return Gallery(vectors, files, gallery.model, gallery.index, history)


def _below_one_root(first: ImageFiles, second: ImageFiles) -> tuple[ImageFiles, ImageFiles]:
    """The same images, named from the folder that holds them all, if they are images."""
    if first.root == second.root:
        return first, second
    if first.root is None or second.root is None:
        return replace(first, root=None), replace(second, root=None)
    common = Path(os.path.commonpath([first.root, second.root]))

    def renamed(files: ImageFiles, root: Path) -> ImageFiles:
        below = root.relative_to(common)
        return replace(files, root=common, ids=tuple((below / i).as_posix() for i in files.ids))

    return renamed(first, first.root), renamed(second, second.root)


def remove_from_gallery(gallery: Gallery, ids: Sequence[str]) -> Gallery:
    """A gallery without some rows.

    Args:
        gallery: all rows.
        ids: names of those to leave out.

    Returns:
        The gallery of the others, in their order.

    Raises:
        ValueError: if a name is not in the gallery, or none would be left.
    """
    unknown = sorted(set(ids) - set(gallery.files.ids))
    if unknown:
        raise ValueError(f"not in the gallery: {', '.join(unknown[:5])}")
    gone = set(ids)
    kept = [row for row, name in enumerate(gallery.files.ids) if name not in gone]
    if not kept:
        raise ValueError("no row would be left: delete the gallery's folder instead")
    files = ImageFiles(
        gallery.files.root,
        tuple(gallery.files.ids[row] for row in kept),
        tuple(gallery.files.labels[row] for row in kept),
    )
    history = (*gallery.history, f"{counted(len(gone), 'row')} removed")
    return Gallery(gallery.vectors[kept], files, gallery.model, gallery.index, history)


def checked_ids(ids: Sequence[str], rows: int | None) -> tuple[str, ...]:
    """The ids, unless there is not one for each row, or one is there twice."""
    if rows is not None and len(ids) != rows:
        raise ValueError(f"{rows} vectors have {len(ids)} ids: give one for each")
    if len(set(ids)) < len(ids):
        twice = next(name for name, times in Counter(ids).items() if times > 1)
        raise ValueError(f"the id {twice!r} appears twice: give each vector its own")
    return tuple(ids)
