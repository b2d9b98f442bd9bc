"""Vectors in files of other programs: NumPy, safetensors, Parquet and faiss, in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from pml_incremental.datasets import npz_images
from pml_incremental.extras import require
from pml_incremental.gallery.gallery import Gallery, check_vectors
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.rows import checked_ids
from pml_incremental.search.approximate import import_faiss
from pml_incremental.storage import StorageError
from pml_incremental.storage.whole_file import write_whole

COLUMN = "vector"
_CHECKSUMS = {"write_page_checksum": True}  # of Parquet; files without are read all the same
UNREADABLE = (*npz_images.UNREADABLE, OSError, KeyError, SafetensorError)


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
    names = rows.ids if ids is None else _read_names(ids)
    files = ImageFiles(None, checked_ids(names, len(rows.vectors)), rows.labels)
    history = (f"imported from {source.name}",)
    return Gallery(check_vectors(rows.vectors, files), files, model, index, history)


def _read_names(file: Path) -> tuple[str, ...]:
    """A name in each line; the end of the last line begins none."""
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    return tuple(line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines))


def read_vectors(source: Path, column: str = COLUMN) -> VectorRows:
    """The rows of a file, see :func:`import_gallery`."""
    read = _kind(source, _READERS)
    if not source.is_file():
        raise ValueError(f"{source} does not exist: give a file of vectors")
    try:
        vectors, ids, labels = read(source, column)
    except UNREADABLE as error:
        raise ValueError(f"{source} cannot be read as vectors: {error}") from error
    rows = np.asarray(vectors)
    check_rows(source, rows, may_be_empty=False)
    names = _texts(range(len(rows)) if ids is None else ids)
    classes = _texts([""] * len(rows) if labels is None else labels)
    for what, found in (("ids", names), ("labels", classes)):
        if len(found) != len(rows):
            raise ValueError(
                f"{source} has {len(found)} {what} for {len(rows)} vectors: give one for each"
            )
    matrix = torch.from_numpy(np.require(rows, np.float32, ["C", "W"]))
    if not torch.isfinite(matrix).all():
        raise ValueError(f"{source} has a vector that is not finite: leave it out")
    return VectorRows(matrix, names, classes)


def check_rows(path: Path, rows: NDArray[Any], may_be_empty: bool = True) -> None:
    """Raise unless a file holds a matrix of floating-point numbers."""
    if rows.ndim != 2 or rows.dtype.kind != "f" or not (may_be_empty or rows.size):
        raise ValueError(
            f"{path} must hold floating-point rows of one width, shape (N, d), got {rows.dtype} "
            f"of shape {rows.shape}"
        )


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values)


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


def _read_npy(path: Path, _: str) -> tuple[Any, Any, Any]:
    return np.load(path, allow_pickle=False), None, None


def _read_npz(path: Path, _: str) -> tuple[Any, Any, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        optional = (np.ravel(arrays[n]) if n in arrays else None for n in ("ids", "labels"))
        return arrays["vectors"], *optional


def _read_safetensors(path: Path, _: str) -> tuple[Any, Any, Any]:
    return load_file(path)["vectors"].float().numpy(), None, None


def _read_parquet(path: Path, column: str) -> tuple[Any, Any, Any]:
    require("pyarrow", "a Parquet file", extra="parquet")
    from pyarrow import parquet

    table = parquet.read_table(path, page_checksum_verification=True)
    rows = _list_rows(table, column)
    ids, labels = (
        table[name].to_pylist() if name in table.column_names else None for name in ("id", "label")
    )
    if ids is not None and None in ids:
        raise ValueError("the column 'id' has empty entries: give each vector its own")
    if labels is not None:
        labels = ["" if label is None else label for label in labels]
    return rows, ids, labels


def _list_rows(table: Any, column: str) -> NDArray[Any]:
    """The lists of numbers in a column of an Arrow table, shape (N, d)."""
    import pyarrow.compute

    if column not in table.column_names:
        raise ValueError(f"no column {column!r}; there are: {', '.join(table.column_names)}")
    lists, kinds = table[column].combine_chunks(), pyarrow.types
    is_list = any(is_one(lists.type) for is_one in (kinds.is_list, kinds.is_large_list))
    if not (is_list or kinds.is_fixed_size_list(lists.type)) or lists.null_count:
        raise ValueError(f"the column {column!r} does not hold a list of numbers in every row")
    widths = pyarrow.compute.list_value_length(lists).unique().to_pylist()
    if len(widths) != 1:
        raise ValueError(f"the vectors of the column {column!r} are not all of one width")
    rows: NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=False)
    return rows.reshape(len(lists), widths.pop())


def move_parquet(
    source: Path,
    target: Path,
    column: str,
    move: Callable[[NDArray[Any]], NDArray[Any]],
    batch: int,
    title: str | None,
) -> None:
    """Write a Parquet file anew with the vectors moved, batch by batch; other columns are kept."""
    require("pyarrow", "a Parquet file", extra="parquet")
    import pyarrow
    from pyarrow import parquet

    if not source.is_file():
        raise ValueError(f"{source} does not exist: give a file of vectors")

    def write(part: Path) -> None:
        with (
            parquet.ParquetFile(source, page_checksum_verification=True) as file,
            ExitStack() as stack,
        ):
            writer, parts = None, file.iter_batches(batch)
            for some in tqdm(parts, title, -(-file.metadata.num_rows // batch), disable=not title):
                table = pyarrow.Table.from_batches([some])
                rows = np.array(_list_rows(table, column))
                check_rows(source, rows)
                moved = move(rows)
                lists = pyarrow.FixedSizeListArray.from_arrays(moved.ravel(), moved.shape[1])
                place = table.column_names.index(column)
                table = table.set_column(place, column, lists)
                if writer is None:
                    writer = stack.enter_context(
                        parquet.ParquetWriter(part, table.schema, **_CHECKSUMS)
                    )
                writer.write_table(table)
            if writer is None:
                raise ValueError("it has no rows")

    try:
        write_whole(target, write)
    except UNREADABLE as error:
        if isinstance(error, StorageError):
            raise
        raise ValueError(f"the vectors of {source} cannot be moved: {error}") from error


def _read_faiss(path: Path, _: str) -> tuple[Any, Any, Any]:
    faiss = import_faiss()
    outer = inner = faiss.read_index(str(path))  # the outer one owns the inner one
    names = None
    if isinstance(outer, faiss.IndexIDMap | faiss.IndexIDMap2):
        names = faiss.vector_to_array(outer.id_map)
        inner = faiss.downcast_index(outer.index)
    if isinstance(inner, faiss.IndexIVFFlat):
        rows, numbers = _of_lists(faiss, inner)
        return rows, numbers if names is None else names[numbers], None
    if not isinstance(inner, faiss.IndexFlat | faiss.IndexHNSWFlat):
        raise ValueError(
            f"an {type(inner).__name__} does not hold the vectors as they were: give a flat, "
            "IVFFlat or HNSWFlat index, or the vectors themselves"
        )
    return inner.reconstruct_n(0, inner.ntotal), names, None


def _of_lists(faiss: Any, index: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The vectors of an IVFFlat index and their numbers, in the order of these.

    Numbers may be missing or doubled once vectors were removed, so faiss cannot give them back by
    number.
    """
    lists, rows, numbers = index.invlists, [], []
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if size:
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
            rows.append(codes.copy().view(np.float32).reshape(size, index.d))
            numbers.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
    if not rows:
        raise ValueError("the index is empty")
    found = np.concatenate(numbers)
    order = np.argsort(found, kind="stable")
    return np.concatenate(rows)[order], found[order]


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
    parquet.write_table(pyarrow.table(columns), part, **_CHECKSUMS)


def _write_faiss(gallery: Gallery, part: Path) -> None:
    faiss = import_faiss()
    index = faiss.IndexFlatL2(gallery.vectors.shape[1])
    index.add(gallery.vectors.numpy())
    part.write_bytes(faiss.serialize_index(index).tobytes())


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
