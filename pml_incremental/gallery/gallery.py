"""A directory of embeddings that can be searched without the images."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.manifest import (
    FORMAT,
    IMAGES,
    INDEX,
    MANIFEST,
    VECTORS,
    read_image_list,
    read_manifest,
)
from pml_incremental.search.faiss_index import build_index, import_faiss
from pml_incremental.search.stacked import Stacked
from pml_incremental.storage import StorageError
from pml_incremental.storage.checksum import sha256
from pml_incremental.storage.whole_file import explain_failure, sync


@dataclass(frozen=True)
class Gallery:
    """Vectors, the images that they stand for, and the model that they come from.

    On disk: ``vectors.safetensors`` (float32), ``images.json`` (root, ids and labels),
    ``index.faiss`` if an index is named, and ``manifest.json`` with the model's version, sizes and
    the checksum of each file.

    Attributes:
        vectors: shape (N, d), float32.
        files: the images, which need not be there any more.
        model: see :meth:`ModelVersion.describe`.
        index: faiss's factory string; None for exact search.
        history: what was done to the vectors, oldest first.
    """

    vectors: Tensor
    files: ImageFiles
    model: dict[str, Any]
    index: str | None = None
    history: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the directory, whole or not at all.

        Raises:
            ValueError: if the folder exists, or the index cannot be built.
            StorageError: if the disk is full, the place is read-only or the like.
        """
        check_place(folder)
        index = None if self.index is None else build_index(Stacked([self.vectors]), self.index)
        part = folder.with_name(folder.name + ".part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            self._write(part, index)
            os.replace(part, folder)
            sync(folder.parent)
        except (OSError, SafetensorError, RuntimeError) as error:  # the last is faiss's
            raise StorageError(explain_failure(folder, error)) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, part: Path, index: Any) -> None:
        part.mkdir(parents=True)
        save_file({"vectors": self.vectors.contiguous()}, part / VECTORS)
        images = {
            "root": str(self.files.root),
            "ids": list(self.files.ids),
            "labels": list(self.files.labels),
        }
        _write_json(part / IMAGES, images)
        if index is not None:
            import_faiss().write_index(index, str(part / INDEX))
        manifest = {
            "format": FORMAT,
            "model": self.model,
            "images": len(self.vectors),
            "width": self.vectors.shape[1],
            "index": self.index,
            "history": list(self.history),
            "sha256": {path.name: sha256(path) for path in sorted(part.iterdir())},
        }
        _write_json(part / MANIFEST, manifest)
        for file in part.iterdir():
            sync(file)
        sync(part)

    @classmethod
    def load(cls, folder: Path) -> Gallery:
        """Read a directory and check it against its manifest.

        Raises:
            ValueError: if a file is missing, damaged, or not as a gallery writes it; it is named.
        """
        manifest = read_manifest(folder)
        for name, checksum in manifest.sha256.items():
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing: build the gallery anew")
            if sha256(folder / name) != checksum:
                raise ValueError(
                    f"{folder / name} is not what the manifest says: it was changed; build the "
                    "gallery anew"
                )
        images = read_image_list(folder)
        files = ImageFiles(Path(images.root), tuple(images.ids), tuple(images.labels))
        vectors = _read_vectors(folder / VECTORS, (manifest.images, manifest.width))
        model = manifest.model.model_dump()
        return cls(
            check_vectors(vectors, files), files, model, manifest.index, tuple(manifest.history)
        )

    @staticmethod
    def read_index(folder: Path) -> Any:
        """The faiss index of a directory that has one."""
        return import_faiss().read_index(str(folder / INDEX))


def check_place(folder: Path) -> None:
    """Raise a ValueError if there is no room for a gallery's directory."""
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another place for the gallery")


def check_vectors(vectors: Tensor, files: ImageFiles) -> Tensor:
    """The vectors, unless there is not one finite vector per image."""
    if len(vectors) != len(files.ids) or not torch.isfinite(vectors).all():
        raise ValueError(f"{len(files.ids)} images need as many finite vectors")
    return vectors


def _read_vectors(path: Path, shape: tuple[int, int]) -> Tensor:
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}; build the gallery anew") from error
    vectors = found.get("vectors", torch.empty(0))
    if vectors.dtype != torch.float32 or tuple(vectors.shape) != shape:
        raise ValueError(
            f"{path} must hold float32 vectors of shape {shape}, got {vectors.dtype} of shape "
            f"{tuple(vectors.shape)}; build the gallery anew"
        )
    return vectors


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
