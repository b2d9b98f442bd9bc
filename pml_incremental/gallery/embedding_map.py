"""A map from an old model's embeddings to a new model's, and what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import Tensor
from tqdm import tqdm

from pml_incremental.gallery.map_fitting import MapQuality, fit_affine
from pml_incremental.gallery.vector_files import COLUMN, UNREADABLE, check_rows, move_parquet
from pml_incremental.storage import read_tensor_file, write_tensor_file
from pml_incremental.storage.whole_file import write_whole

ROWS_AT_ONCE = 65_536
_LONG = 1e15
_SHORTEST = 1e-12  # as torch.nn.functional.normalize has it


@dataclass(frozen=True)
class EmbeddingMap:
    r"""Takes an old model's embeddings into a new model's space, without the images.

    .. math:: m(x) = \frac{W \hat x + b}{\|W \hat x + b\|}, \qquad \hat x = x / \|x\|

    W and b are learned from pairs: embeddings of the same images by both models. Which kind of map
    it is, and its ridge and rank, is what keeps most neighbours among pairs held out in five folds,
    so that it is never worse there than leaving the vectors as they are:

    - ``identity``;
    - ``orthogonal``: the rotation of Procrustes' problem;
    - ``affine``: ridge regression of the change, so that where pairs say little a vector stays;
    - ``low rank``: its change cut to half of the ranks, a quarter, and so on.

    Source: linear maps between embedding spaces of models are the learnable drift compensation of
    Gomez-Villa et al., ECCV 2024; the choice by cross-validation is ours.

    Attributes:
        weight: W, shape (d_new, d_old), float32.
        bias: b, shape (d_new,), float32.
        kind: one of those above.
        quality: on held-out pairs.
        old: describes the old model, as a gallery's manifest does; None if it is not known.
        new: describes the new model likewise.
    """

    weight: Tensor
    bias: Tensor
    kind: str
    quality: MapQuality
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None

    @classmethod
    def fit(
        cls,
        old: Tensor,
        new: Tensor,
        groups: Tensor | None = None,
        checked: Tensor | None = None,
        seed: int = 0,
    ) -> EmbeddingMap:
        """Learn a map from pairs.

        Args:
            old: embeddings by the old model, shape (N, d_old); their length does not matter.
            new: embeddings of the same images by the new model, shape (N, d_new).
            groups: which pairs are held out together, shape (N,): those of one class, as the map is
                for classes that it has not seen, and at least those of copies of one image;
                default: each by itself.
            checked: which pairs to check on, shape (N,), bool; the others, such as turned copies,
                are learned from alone; default: all.
            seed: of the order in which groups are held out.

        Returns:
            The map.

        Raises:
            ValueError: if the numbers of rows differ, one is not finite, or there are fewer than
                two groups for each of five folds.

        Example:
            >>> old = torch.randn(200, 8)
            >>> turn = torch.linalg.qr(torch.randn(8, 8)).Q
            >>> found = EmbeddingMap.fit(old, old @ turn)
            >>> round(found.quality.cosine, 3)
            1.0
        """
        weight, bias, kind, quality = fit_affine(old, new, groups, checked, seed)
        return cls(weight, bias, kind, quality)

    def apply(self, vectors: Tensor) -> Tensor:
        """Move vectors.

        Args:
            vectors: of the old model, shape (N, d_old), of any floating-point type.

        Returns:
            Unit vectors of the same type, shape (N, d_new), on the device of ``vectors``.

        Raises:
            ValueError: if the width is another, or a vector is not finite.

        Example:
            >>> rows = torch.eye(4)[:3]
            >>> EmbeddingMap(torch.eye(4), torch.zeros(4), "identity", None).apply(rows).shape
            torch.Size([3, 4])
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"the map takes vectors of width {self.weight.shape[1]}, got {tuple(vectors.shape)}"
            )
        weight, bias = self.weight.to(vectors.device), self.bias.to(vectors.device)
        parts = [_apply(part, weight, bias) for part in vectors.split(ROWS_AT_ONCE)]
        moved = parts[0] if len(parts) == 1 else torch.cat(parts)
        return moved.to(vectors.dtype)

    def apply_to_file(
        self, source: Path, target: Path, progress: bool = False, column: str = COLUMN
    ) -> None:
        """Move the vectors of a file, part by part, whatever its size.

        Args:
            source: an ``.npy`` file of shape (N, d_old), of any floating-point type, or a
                ``.parquet`` file with a column of such vectors.
            target: the file of the same kind to write, of the same type of numbers; a Parquet
                file's other columns are kept. It is whole or not there.
            progress: whether to show a progress bar.
            column: of a Parquet file.

        Raises:
            ValueError: if the source is no such file, the target is there already or of another
                kind, or a vector is missing, has another width or is not finite.
            StorageError: if the target cannot be written.
            MissingExtraError: if pyarrow is not installed.
        """
        if target.suffix != source.suffix:
            raise ValueError(f"{target} must end as {source} does")
        if target.exists():
            raise ValueError(f"{target} exists: choose another name")

        def move(rows: NDArray[Any]) -> NDArray[Any]:
            return self.apply(torch.from_numpy(rows)).numpy()

        title = f"moving {source.name}" if progress else None
        if source.suffix == ".parquet":
            move_parquet(source, target, column, move, ROWS_AT_ONCE, title)
        else:
            self._move_npy(source, target, move, title)

    def _move_npy(
        self, source: Path, target: Path, move: Callable[..., NDArray[Any]], title: str | None
    ) -> None:
        """Write the moved rows of an .npy file."""
        rows = _mapped(source)

        def write(part: Path) -> None:
            header = {"descr": rows.dtype.str, "fortran_order": False}
            header["shape"] = (len(rows), len(self.bias))
            with part.open("wb") as file:
                np.lib.format.write_array_header_2_0(file, header)
                steps = range(0, len(rows), ROWS_AT_ONCE)
                for first in tqdm(steps, title, disable=title is None):
                    # Mapped anew, so that what was read is not kept in memory.
                    part_of = np.array(_mapped(source)[first : first + ROWS_AT_ONCE])
                    try:
                        file.write(move(part_of).data)
                    except ValueError as error:
                        raise ValueError(
                            f"the vectors of {source} cannot be moved: {error}"
                        ) from error

        write_whole(target, write)

    def save(self, path: Path) -> None:
        """Write a safetensors file with a checksum, whole or not at all.

        Args:
            path: of the file.

        Raises:
            StorageError: if it cannot be written.
        """
        state = {
            "embedding_map": 1,
            "kind": self.kind,
            "quality": asdict(self.quality),
            "old": self.old,
            "new": self.new,
        }
        write_tensor_file(path, {"weight": self.weight, "bias": self.bias}, state)

    @classmethod
    def load(cls, path: Path) -> EmbeddingMap:
        """Read what :meth:`save` wrote.

        Args:
            path: of the file.

        Raises:
            FileNotFoundError: if there is no such file.
            DamagedFileError: if it is not what was written.
            ValueError: if it is no map.
        """
        tensors, state = read_tensor_file(path, "fit the map again")
        if not isinstance(state, dict) or state.get("embedding_map") != 1:
            raise ValueError(f"{path} is not a map: write one with pml-incremental gallery fit-map")
        try:
            said = _Said.model_validate(state)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{path} is not as a map is written: {where}: {first['msg']}; fit the map again"
            ) from error
        weight, bias = (tensors.get(name, torch.empty(())) for name in ("weight", "bias"))
        parts, shape = (weight, bias), (weight.ndim, *weight.shape[:1])
        are_numbers = all(p.dtype == torch.float32 and p.isfinite().all() for p in parts)
        if shape != (2, *bias.shape) or not weight.numel() or not are_numbers:
            raise ValueError(
                f"{path} is not as a map is written: weight and bias must be finite float32 of "
                f"shapes (d_new, d_old) and (d_new,), got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}; fit the map again"
            )
        return cls(weight, bias, said.kind, said.quality, said.old, said.new)


class _Said(BaseModel):
    """What a map's file says beside its numbers."""

    kind: str
    quality: MapQuality
    old: dict[str, Any] | None
    new: dict[str, Any] | None


def _apply(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The map of some rows, in float32; lengths are divided by after the product, in fresh rows."""
    wide = rows if rows.dtype == torch.float64 else rows.float()
    lengths = torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_min(_SHORTEST)
    if bool((lengths > _LONG).any()):  # squares would overflow
        wide = torch.nn.functional.normalize(wide.double() / _LONG, dim=1)
        lengths = torch.ones_like(lengths)
    rows, lengths = wide.float(), lengths.float()
    moved = (rows @ weight.T).div_(lengths).add_(bias)
    lengths = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    if not torch.isfinite(lengths).all():
        raise ValueError("a vector to move is not finite: leave it out")
    return moved.div_(lengths.clamp_min(_SHORTEST))


def _mapped(path: Path) -> NDArray[Any]:
    """The rows of an .npy file, not yet read."""
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an .npy file: {error}") from error
    if not isinstance(rows, np.ndarray):
        raise ValueError(f"{path} is not an .npy file: it has several arrays")
    check_rows(path, rows)
    return rows
