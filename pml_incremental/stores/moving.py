"""Moving the vectors of a store to a new model, while programs go on searching the old ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pml_incremental.gallery import EmbeddingMap
from pml_incremental.stores.store import Rows, VectorStore, Versions


@dataclass(frozen=True)
class MoveReport:
    """What a move found and did.

    Attributes:
        total: vectors that programs search.
        moved: new vectors written by this call.
        pending: rows that have no new vector yet.
    """

    total: int
    moved: int
    pending: int


def move_store(
    store: VectorStore,
    embedding_map: EmbeddingMap,
    versions: Versions,
    batch: int = 4096,
    dry_run: bool = False,
    progress: bool = False,
) -> MoveReport:
    """Write the new model's vectors beside the old ones of a store.

    Programs search the old vectors until :func:`cut_over`. Each new vector is written together with
    the version of its model, so the same call resumes after a kill, and moves what was added
    meanwhile: rows with the old version or none are mapped, those with the new one are copied.

    Args:
        store: see :func:`open_store`.
        embedding_map: from the old model to the new one.
        versions: names both models.
        batch: rows in one write.
        dry_run: only count, and map the first rows.
        progress: whether to show a progress bar.

    Returns:
        What was found and done.

    Raises:
        ValueError: if vectors are of a third model, of another width or not finite, all are of the
            new model already, or an id names several rows.
        StorageError: if the store fails, such as when the connection is lost; what was moved is
            kept.
    """
    with store.errors():
        total = _check(store, embedding_map, versions)
        store.check_ids()
        left = store.count_pending(versions.new)
        if dry_run:
            for rows in store.pending(versions.new, batch):
                _moved(rows, embedding_map, versions)
                break
            return MoveReport(total, 0, left)
        store.begin(versions, len(embedding_map.bias))
        moved = 0
        with tqdm(total=left, desc="moving vectors", disable=not progress) as bar:
            while True:
                before = moved
                for rows in store.pending(versions.new, batch):
                    store.write(rows, _moved(rows, embedding_map, versions), versions)
                    moved += len(rows.ids)
                    bar.update(len(rows.ids))
                if moved == before:
                    break
        store.finish()
        return MoveReport(total, moved, store.count_pending(versions.new))


def cut_over(store: VectorStore, versions: Versions) -> None:
    """Let programs search the new vectors under the old name; the old ones are kept.

    Args:
        store: whose vectors :func:`move_store` has moved.
        versions: as there.

    Raises:
        ValueError: if there are no new vectors, or rows without one.
        StorageError: if the store fails; it is then as it was.
    """
    with store.errors():
        if store.stage != "beside":
            raise ValueError(f"nothing to cut over: the move is {store.stage}; move vectors first")
        left = store.count_pending(versions.new)
        if left:
            raise ValueError(f"{left} rows have no vector of the new model yet: move them first")
        store.cut_over(versions)


def roll_back(store: VectorStore) -> None:
    """Let programs search the old vectors again; the new ones are kept, ready for a cutover.

    Args:
        store: after a cutover.

    Raises:
        ValueError: if there was no cutover, or the old vectors were dropped.
        StorageError: if the store fails; it is then as it was.
    """
    with store.errors():
        if store.stage != "cut over":
            raise ValueError(f"nothing to roll back: the move is {store.stage}")
        store.roll_back()


def drop_old(store: VectorStore, versions: Versions) -> None:
    """Delete the old vectors after a cutover, for good.

    Args:
        store: after a cutover.
        versions: as for the move.

    Raises:
        ValueError: if there was no cutover, or a program has since written vectors of another model
            than the new one where the new ones are.
        StorageError: if the store fails; it is then as it was.
    """
    with store.errors():
        if store.stage != "cut over":
            raise ValueError(f"no old vectors to drop: the move is {store.stage}; cut over first")
        others = {m: n for m, n in store.count_models().items() if m != versions.new}
        if others:
            raise ValueError(
                f"some vectors in use are not known to be of the new model ({_list(others)}): "
                "write theirs, with its version, before the old ones are dropped"
            )
        store.drop("old")


def drop_new(store: VectorStore) -> None:
    """Delete the new vectors before a cutover, for good: the move is given up.

    Args:
        store: with vectors moved and no cutover.

    Raises:
        ValueError: if there are none, or they are in use.
        StorageError: if the store fails; it is then as it was.
    """
    with store.errors():
        if store.stage != "beside":
            raise ValueError(f"no new vectors to drop: the move is {store.stage}")
        store.drop("new")


def _check(store: VectorStore, embedding_map: EmbeddingMap, versions: Versions) -> int:
    """How many vectors there are, if they can be moved."""
    if versions.old == versions.new:
        raise ValueError(f"the old and the new model are the same: {versions.old}")
    models = store.count_models()
    if store.stage == "cut over":
        raise ValueError(
            "the last move was cut over and still keeps the old vectors: roll it back, or drop them"
        )
    if not models:
        raise ValueError("the store holds no vectors: nothing to move")
    if models.keys() == {versions.new}:
        raise ValueError(f"all vectors are of the new model already ({versions.new})")
    third: dict[str | None, int] = {
        m: n for m, n in models.items() if m not in (None, versions.old, versions.new)
    }
    if third:
        raise ValueError(
            f"the map is from {versions.old} to {versions.new}, and some vectors are of another "
            f"model ({_list(third)}): take the map of that model"
        )
    width = embedding_map.weight.shape[1]
    if store.width != width:
        raise ValueError(f"the map takes vectors of width {width}, the store's have {store.width}")
    return sum(models.values())


def _list(models: Mapping[str | None, int]) -> str:
    return ", ".join(f"{number} of {model or 'no version'}" for model, number in models.items())


def _moved(rows: Rows, embedding_map: EmbeddingMap, versions: Versions) -> NDArray[np.float32]:
    """The new model's vectors of some rows; those that it has made itself stay as they are."""
    finite = np.isfinite(rows.vectors).all(1)
    if not finite.all():
        name = rows.ids[int(finite.argmin())]
        raise ValueError(
            f"the vector of {name!r} is not finite: replace or delete it, and move again"
        )
    moved: NDArray[np.float32] = embedding_map.apply(torch.from_numpy(rows.vectors)).numpy()
    own = np.array([model == versions.new for model in rows.models])
    if own.any():
        if moved.shape != rows.vectors.shape:
            name = rows.ids[int(own.argmax())]
            raise ValueError(
                f"{name!r} has the new model's version beside a vector of the old width"
            )
        moved[own] = rows.vectors[own]
    return moved
