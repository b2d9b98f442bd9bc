"""What a gallery's directory says of itself, checked before it is believed."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, TypeVar

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

FORMAT = 1
MANIFEST, IMAGES = "manifest.json", "images.json"
VECTORS, INDEX = "vectors.safetensors", "index.faiss"


def check_inside(path: str) -> str:
    """The path, unless it leads out of the folder that it is relative to.

    Raises:
        ValueError: if it does.

    Example:
        >>> check_inside("cats/1.png")
        'cats/1.png'
    """
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


_FROM_RUN, _FROM_FILE = "run", "file"


def _origin_of(model: Any) -> str:
    return _FROM_FILE if isinstance(model, dict) and "weights" in model else _FROM_RUN


class Manifest(_Strict):
    """``manifest.json``."""

    format: Literal[1]
    model: Annotated[
        Annotated[RunModel, Tag(_FROM_RUN)] | Annotated[FileModel, Tag(_FROM_FILE)],
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
    """``images.json``: ids are paths below the root."""

    root: str
    ids: list[InnerPath]
    labels: list[str]

    @model_validator(mode="after")
    def _has_a_label_for_each(self) -> ImageList:
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{len(self.ids)} ids have {len(self.labels)} labels")
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a directory.

    Raises:
        ValueError: if there is none, or it is not as a gallery writes it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a gallery: it has no {MANIFEST}; build one first")
    content = _read_json(path)
    written = content.get("format") if isinstance(content, dict) else None
    if type(written) is int and written != FORMAT:
        raise ValueError(
            f"{path} has format {written}, and this version reads {FORMAT}; build the gallery anew"
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
        raise ValueError(
            f"{path} is not as a gallery writes it: {where}: {first['msg']}; build the gallery anew"
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}; build the gallery anew") from error
