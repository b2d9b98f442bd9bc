"""A directory of embeddings that can be searched without the images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.model_version import ModelVersion, WeightsModel
from pml_incremental.search.approximate import build_index, import_faiss
from pml_incremental.search.tensors import Stacked
from pml_incremental.storage import StorageError
from pml_incremental.storage.whole_file import (
    explain_failure,
    remove_leftovers_of,
    sha256,
    sync,
    write_whole,
)

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
            StorageError: if the disk is full, the place is read-only or the like.
        """
        check_place(folder)
        check_names(self.files)
        index = None if self.index is None else build_index(Stacked([self.vectors]), self.index)
        remove_leftovers_of(folder)
        try:
            write_whole(folder, lambda part: self._write(part, index))
        except RuntimeError as error:  # faiss's
            raise StorageError(explain_failure(folder, error)) from error

    def _write(self, part: Path, index: Any) -> None:
        part.mkdir()
        save_file({"vectors": self.vectors.contiguous()}, part / VECTORS)
        images = {
            "root": None if self.files.root is None else str(self.files.root),
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

    @classmethod
    def load(cls, folder: Path) -> Gallery:
        """Read a directory and check it against its manifest.

        Raises:
            ValueError: if a file is missing, damaged, or not as a gallery writes it; it is named.
        """
        manifest = read_manifest(folder)
        for name, checksum in manifest.sha256.items():
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing: build the gallery again")
            if sha256(folder / name) != checksum:
                raise ValueError(
                    f"{folder / name} is not what the manifest says: it was changed; build the "
                    "gallery again"
                )
        images = read_image_list(folder)
        root = None if images.root is None else Path(images.root)
        files = ImageFiles(root, tuple(images.ids), tuple(images.labels))
        vectors = _read_vectors(folder / VECTORS, (manifest.images, manifest.width))
        model = manifest.model.model_dump(exclude_unset=True)
        try:
            check_vectors(vectors, files)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}; build the gallery again") from error
        return cls(vectors, files, model, manifest.index, tuple(manifest.history))

    @staticmethod
    def read_index(folder: Path) -> Any:
        """The faiss index of a directory that has one."""
        return import_faiss().read_index(str(folder / INDEX))


def check_place(folder: Path) -> None:
    """Raise a ValueError if there is no room for a gallery's directory."""
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another place for the gallery")


def check_names(files: ImageFiles | ImageList) -> None:
    """Raise a ValueError unless each image has a label, and a path that stays below the root."""
    if len(files.ids) != len(files.labels):
        raise ValueError(f"{len(files.ids)} ids have {len(files.labels)} labels: give one for each")
    if files.root is None:  # names of vectors without images
        return
    for place, name in enumerate(files.ids):
        try:
            check_inside(name)
        except ValueError as error:
            raise ValueError(f"ids.{place}: {error}") from error


def check_vectors(vectors: Tensor, files: ImageFiles) -> Tensor:
    """The vectors, unless there is not one finite vector per image."""
    if len(vectors) != len(files.ids) or not torch.isfinite(vectors).all():
        raise ValueError(f"{len(files.ids)} images need as many finite vectors")
    return vectors


def _read_vectors(path: Path, shape: tuple[int, int]) -> Tensor:
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}; build the gallery again") from error
    vectors = found.get("vectors", torch.empty(0))
    if vectors.dtype != torch.float32 or tuple(vectors.shape) != shape:
        raise ValueError(
            f"{path} must hold float32 vectors of shape {shape}, got {vectors.dtype} of shape "
            f"{tuple(vectors.shape)}; build the gallery again"
        )
    return vectors


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_inside(path: str) -> str:
    """The path, unless it leads out of the folder that it is relative to."""
    parts = {*PurePosixPath(path).parts, *PureWindowsPath(path).parts}
    is_absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor
    if not path or is_absolute or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} leads out of its folder")
    return path


InnerPath = Annotated[str, AfterValidator(check_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Read = TypeVar("_Read", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RunModel(_Strict):
    """The model of a run that the vectors come from."""

    run: str
    strategy: InnerPath
    task: Annotated[int, Field(ge=1)]
    weights_sha256: Sha256


class FileModel(_Strict):
    """The weights file that the vectors come from."""

    weights: str
    weights_sha256: Sha256
    embedder: str | None = None
    embedder_sha256: Sha256 | None = None
    weights_prefix: str = ""
    recipe: dict[str, Any] | None = None


class NamedModel(_Strict):
    """A model that made imported vectors, known by a name alone."""

    name: Annotated[str, Field(min_length=1)]


_FROM_RUN, _FROM_FILE, _NAMED = "run", "file", "named"


def _origin_of(model: Any) -> str:
    if isinstance(model, dict) and "weights" in model:
        return _FROM_FILE
    return _NAMED if isinstance(model, dict) and "name" in model else _FROM_RUN


class Manifest(_Strict):
    """``manifest.json``."""

    format: Literal[1]
    model: Annotated[
        Annotated[RunModel, Tag(_FROM_RUN)]
        | Annotated[FileModel, Tag(_FROM_FILE)]
        | Annotated[NamedModel, Tag(_NAMED)],
        Discriminator(_origin_of),
    ]
    images: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    index: str | None
    history: list[str]
    sha256: dict[Literal["images.json", "vectors.safetensors", "index.faiss"], Sha256]

    @model_validator(mode="after")
    def _names_every_file(self) -> Manifest:
        needed = {IMAGES, VECTORS, *([INDEX] if self.index is not None else [])}
        if self.sha256.keys() != needed:
            raise ValueError(f"sha256 must have {', '.join(sorted(needed))} and no other")
        return self


class ImageList(_Strict):
    """``images.json``: ids are paths below the root, or names where there are no images."""

    root: str | None
    ids: list[str]
    labels: list[str]

    @model_validator(mode="after")
    def _has_a_label_for_each(self) -> ImageList:
        check_names(self)
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a directory."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a gallery: it has no {MANIFEST}; build one first")
    content = _read_json(path)
    written = content.get("format") if isinstance(content, dict) else None
    if type(written) is int and written != FORMAT:
        raise ValueError(
            f"{path} has format {written}, and this version reads {FORMAT}; build the gallery again"
        )
    return _checked(Manifest, path, content)


def read_image_list(folder: Path) -> ImageList:
    """The images of a directory; raises as :func:`read_manifest`."""
    path = folder / IMAGES
    return _checked(ImageList, path, _read_json(path))


def _checked(kind: type[_Read], path: Path, content: Any) -> _Read:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        keys = list(first["loc"])
        if keys[:1] == ["model"]:
            del keys[1:2]  # which kind of model it was taken for
        where = ".".join(map(str, keys))
        says = f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")
        raise ValueError(
            f"{path} is not in the format of a gallery: {says}; build the gallery again"
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}; build the gallery again") from error


def build_gallery(
    images: Path,
    model: ModelVersion | WeightsModel,
    index: str | None = None,
    on_bad_image: OnBadImage = "raise",
    progress: bool = False,
) -> Gallery:
    """Embed all images of a folder.

    Args:
        images: a folder; the folder that an image is in names its class.
        model: embeds them.
        index: faiss's factory string for an approximate search; default: exact.
        on_bad_image: ``"raise"`` an error about images that cannot be read, or ``"skip"`` them.
        progress: whether to show progress bars.

    Raises:
        ValueError: if there are no images, one cannot be read, or the model's weights are gone.
    """
    files = ImageFiles.under(images.resolve(), on_bad_image, progress)
    vectors = check_vectors(model.embed(files, progress), files)
    return Gallery(vectors, files, model.describe(), index, (f"embedded by {model.name}",))
