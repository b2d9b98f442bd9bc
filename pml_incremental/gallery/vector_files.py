"""Vectors in files of other programs: NumPy, safetensors, Parquet and faiss, in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pml_incremental.extras import require
from pml_incremental.gallery.gallery import Gallery, check_vectors
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.model_version import identity
from pml_incremental.search.approximate import import_faiss
from pml_incremental.storage.whole_file import write_whole

COLUMN = "vector"


@dataclass(frozen=True)
class VectorRows:
    """Rows of a file; ids are the rows' numbers and labels empty where it has none."""

    vectors: Tensor  # (N, d), float32
    ids: tuple[str, ...]
    labels: tuple[str, ...]


def import_gallery(
    source: Path,
    model: dict[str, Any],
    ids: Path | None = None,
    column: str = COLUMN,
    index: str | None = None,
) -> Gallery:
    """A gallery of vectors that another program has made; it needs no images and no labels.

    Args:
        source: ``.npy`` of shape (N, d); ``.npz`` with ``vectors`` and, if there are any, ``ids``
            and ``labels``; ``.safetensors`` with ``vectors``; ``.parquet`` with a column of vectors
            and, if there are any, columns ``id`` and ``label``; ``.faiss`` or ``.index``, from
            which faiss can give the vectors back.
        model: describes the model that made them: ``{"name": NAME}``, or that of a weights file.
        ids: a text file with a name for each row, one a line; default: those of the source, or the
            rows' numbers.
        column: of a Parquet file.
        index: faiss's factory string for an approximate search; default: exact.

    Returns:
        The gallery.

    Raises:
        ValueError: if the file is of none of these kinds, cannot be read, holds no matrix of finite
            numbers, or ids are not one for each row or occur twice.
        MissingExtraError: if pyarrow or faiss is not installed.
    """
    rows = read_vectors(source, column)
    names = rows.ids if ids is None else tuple(ids.read_text(encoding="utf-8").splitlines())
    files = ImageFiles(None, _checked_ids(names, len(rows.vectors)), rows.labels)
    history = (f"imported from {source.name}",)
    return Gallery(check_vectors(rows.vectors, files), files, model, index, history)


def read_vectors(source: Path, column: str = COLUMN) -> VectorRows:
    """The rows of a file, see :func:`import_gallery`."""
    read = _kind(source, _READERS)
    if not source.is_file():
        raise ValueError(f"{source} is not there: give a file of vectors")
    try:
        vectors, ids, labels = read(source, column)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{source} cannot be read as vectors: {error}") from error
    rows = np.asarray(vectors)
    if rows.ndim != 2 or rows.dtype.kind != "f" or 0 in rows.shape:
        raise ValueError(
            f"{source} must hold floating-point rows of one width, shape (N, d), got {rows.dtype} "
            f"of shape {rows.shape}"
        )
    names = range(len(rows)) if ids is None else ids
    classes = [""] * len(rows) if labels is None else labels
    matrix = torch.from_numpy(np.require(rows, np.float32, ["C", "W"]))
    return VectorRows(matrix, tuple(map(str, names)), tuple(map(str, classes)))


def export_gallery(gallery: Gallery, target: Path) -> None:
    """Write a gallery's vectors for another program, whole or not at all.

    Args:
        gallery: with the vectors; names and labels go with them where the kind of file has room.
        target: a path that ends as for :func:`import_gallery`. Parquet has the columns ``id``,
            ``label`` and ``vector``; a faiss index is a flat one, in the order of the rows.

    Raises:
        ValueError: if the path ends otherwise, or is there already.
        StorageError: if it cannot be written.
        MissingExtraError: if pyarrow or faiss is not installed.
    """
    write = _kind(target, _WRITERS)
    if target.exists():
        raise ValueError(f"{target} exists: choose another name")
    write_whole(target, lambda part: write(gallery, part))


def add_to_gallery(gallery: Gallery, more: Gallery) -> Gallery:
    """A gallery with the rows of another one of the same model behind its own.

    Args:
        gallery: the first rows.
        more: the rows to add.

    Returns:
        A gallery with both; the search index is that of the first.

    Raises:
        ValueError: if the models or widths differ, or an id is in both.
    """
    if identity(gallery.model) != identity(more.model):
        raise ValueError(
            f"the vectors to add are of another model ({identity(more.model)}) than the gallery's "
            f"({identity(gallery.model)}): move one of them first"
        )
    ids = _checked_ids(gallery.files.ids + more.files.ids, None)
    root = gallery.files.root if gallery.files.root == more.files.root else None
    files = ImageFiles(root, ids, gallery.files.labels + more.files.labels)
    history = (*gallery.history, f"{len(more.files.ids)} rows added")
    vectors = torch.cat([gallery.vectors, more.vectors])
    return Gallery(vectors, files, gallery.model, gallery.index, history)


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
    history = (*gallery.history, f"{len(gone)} rows removed")
    return Gallery(gallery.vectors[kept], files, gallery.model, gallery.index, history)


def _checked_ids(ids: Sequence[str], rows: int | None) -> tuple[str, ...]:
    if rows is not None and len(ids) != rows:
        raise ValueError(f"{rows} vectors have {len(ids)} ids: give one for each")
    if len(set(ids)) < len(ids):
        twice = next(name for place, name in enumerate(ids) if name in ids[:place])
        raise ValueError(f"the id {twice!r} is there twice: give each vector its own")
    return tuple(ids)


def _read_npy(path: Path, _: str) -> tuple[Any, Any, Any]:
    return np.load(path, allow_pickle=False), None, None


def _read_npz(path: Path, _: str) -> tuple[Any, Any, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        optional = (arrays.get(name) for name in ("ids", "labels"))
        return arrays["vectors"], *optional


def _read_safetensors(path: Path, _: str) -> tuple[Any, Any, Any]:
    return load_file(path)["vectors"].float().numpy(), None, None


def _read_parquet(path: Path, column: str) -> tuple[Any, Any, Any]:
    require("pyarrow", "a Parquet file", extra="parquet")
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    if column not in table.column_names:
        raise ValueError(f"no column {column!r}; there are: {', '.join(table.column_names)}")
    lists = table[column].combine_chunks()
    width = len(lists[0]) if len(lists) else 0
    values = lists.flatten().to_numpy(zero_copy_only=False)
    if len(values) != width * len(lists) or any(len(row) != width for row in lists):
        raise ValueError(f"the vectors of the column {column!r} are not all of one width")
    optional = [
        table[name].to_pylist() if name in table.column_names else None for name in ("id", "label")
    ]
    return values.reshape(len(lists), width), *optional


def _read_faiss(path: Path, _: str) -> tuple[Any, Any, Any]:
    faiss = import_faiss()
    outer = inner = faiss.read_index(str(path))  # the outer one owns the inner one
    ids = None
    if isinstance(outer, faiss.IndexIDMap | faiss.IndexIDMap2):
        ids = faiss.vector_to_array(outer.id_map)
        inner = faiss.downcast_index(outer.index)
    if isinstance(inner, faiss.IndexIVF):
        inner.make_direct_map()
    return inner.reconstruct_n(0, inner.ntotal), ids, None


def _write_npy(gallery: Gallery, part: Path) -> None:
    with part.open("wb") as file:
        np.save(file, gallery.vectors.numpy())


def _write_npz(gallery: Gallery, part: Path) -> None:
    ids, labels = np.array(gallery.files.ids), np.array(gallery.files.labels)
    with part.open("wb") as file:
        np.savez(file, vectors=gallery.vectors.numpy(), ids=ids, labels=labels)


def _write_safetensors(gallery: Gallery, part: Path) -> None:
    save_file({"vectors": gallery.vectors.contiguous()}, part)


def _write_parquet(gallery: Gallery, part: Path) -> None:
    require("pyarrow", "a Parquet file", extra="parquet")
    import pyarrow
    from pyarrow import parquet

    width = gallery.vectors.shape[1]
    values = pyarrow.array(gallery.vectors.numpy().ravel())
    columns = {
        "id": pyarrow.array(gallery.files.ids),
        "label": pyarrow.array(gallery.files.labels),
        COLUMN: pyarrow.FixedSizeListArray.from_arrays(values, width),
    }
    parquet.write_table(pyarrow.table(columns), part)


def _write_faiss(gallery: Gallery, part: Path) -> None:
    faiss = import_faiss()
    index = faiss.IndexFlatL2(gallery.vectors.shape[1])
    index.add(gallery.vectors.numpy())
    faiss.write_index(index, str(part))


_READERS: dict[str, Callable[[Path, str], tuple[Any, Any, Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".parquet": _read_parquet,
    ".faiss": _read_faiss,
    ".index": _read_faiss,
}
_WRITERS: dict[str, Callable[[Gallery, Path], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".parquet": _write_parquet,
    ".faiss": _write_faiss,
    ".index": _write_faiss,
}


def _kind(path: Path, known: dict[str, Any]) -> Any:
    if path.suffix not in known:
        raise ValueError(f"{path} must end in one of {', '.join(known)}")
    return known[path.suffix]
