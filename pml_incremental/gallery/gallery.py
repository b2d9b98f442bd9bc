"""A directory of embeddings that can be searched without the images."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pml_incremental.gallery.checksum import sha256
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.search.faiss_index import build_index, import_faiss
from pml_incremental.search.stacked import Stacked

FORMAT = 1
MANIFEST, IMAGES = "manifest.json", "images.json"
VECTORS, INDEX = "vectors.safetensors", "index.faiss"


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
        """
        if folder.exists():
            raise ValueError(f"{folder} exists: choose another place for the gallery")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file({"vectors": self.vectors.contiguous()}, part / VECTORS)
        images = {
            "root": str(self.files.root),
            "ids": list(self.files.ids),
            "labels": list(self.files.labels),
        }
        _write_json(part / IMAGES, images)
        if self.index is not None:
            index = build_index(Stacked([self.vectors]), self.index)
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
        os.replace(part, folder)

    @classmethod
    def load(cls, folder: Path) -> Gallery:
        """Read a directory and check it against its manifest.

        Raises:
            ValueError: if a file is missing or damaged; it is named.
        """
        manifest = _read_manifest(folder)
        for name, checksum in manifest["sha256"].items():
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing: the gallery is damaged")
            if sha256(folder / name) != checksum:
                raise ValueError(f"{folder / name} is not what the manifest says: it was changed")
        images = json.loads((folder / IMAGES).read_text(encoding="utf-8"))
        files = ImageFiles(Path(images["root"]), tuple(images["ids"]), tuple(images["labels"]))
        vectors = load_file(folder / VECTORS)["vectors"]
        history = tuple(manifest["history"])
        return cls(vectors, files, manifest["model"], manifest["index"], history)

    @staticmethod
    def read_index(folder: Path) -> Any:
        """The faiss index of a directory that has one."""
        return import_faiss().read_index(str(folder / INDEX))


def check_vectors(vectors: Tensor, files: ImageFiles) -> Tensor:
    """The vectors, unless there is not one finite vector per image."""
    if len(vectors) != len(files.ids) or not torch.isfinite(vectors).all():
        raise ValueError(f"{len(files.ids)} images need as many finite vectors")
    return vectors


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a gallery: it has no {MANIFEST}; build one first")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = manifest["format"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a gallery's manifest: {error!r}") from error
    if written != FORMAT:
        raise ValueError(f"{path} has format {written}, and this version reads {FORMAT}")
    return manifest


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
