"""What a vector store must do so that its vectors can be moved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

#: Whether moved vectors are absent, beside the old ones, or in their place.
Stage = Literal["not begun", "beside", "cut over"]


@dataclass(frozen=True)
class Fields:
    """Names of a table's fields; those of the move are made from the vector's.

    Args:
        id: names each row.
        vector: holds the vector that programs search.
    """

    id: str = "id"
    vector: str = "vector"

    @property
    def model(self) -> str:
        """Which model made the vector; empty: the old model of the map."""
        return f"{self.vector}_model"

    @property
    def moved(self) -> str:
        """The new model's vector, before the cutover."""
        return f"{self.vector}_moved"

    @property
    def moved_model(self) -> str:
        """Which model that is."""
        return f"{self.vector}_moved_model"

    @property
    def before(self) -> str:
        """The old model's vector, after the cutover."""
        return f"{self.vector}_before"

    @property
    def before_model(self) -> str:
        """Which model that is."""
        return f"{self.vector}_before_model"

    def stage_in(self, columns: Collection[str]) -> Stage:
        """How far a table with these columns is."""
        if self.before in columns:
            return "cut over"
        return "beside" if self.moved in columns else "not begun"

    def check_in(self, table: str, columns: Collection[str]) -> None:
        """Raise a ValueError unless a table has the two columns that are named."""
        for name in (self.id, self.vector):
            if name not in columns:
                known = ", ".join(columns) or "it does not exist"
                raise ValueError(f"the table {table} has no column {name!r}; there are: {known}")

    @property
    def cut_over(self) -> tuple[tuple[str, str], ...]:
        """Old and new names of the columns that a cutover renames, in an order that is possible."""
        return (
            (self.vector, self.before),
            (self.model, self.before_model),
            (self.moved, self.vector),
            (self.moved_model, self.model),
        )

    @property
    def roll_back(self) -> tuple[tuple[str, str], ...]:
        """The same for going back."""
        return (
            (self.vector, self.moved),
            (self.model, self.moved_model),
            (self.before, self.vector),
            (self.before_model, self.model),
        )


@dataclass(frozen=True)
class Versions:
    """The models of a move, as they are written beside each vector.

    Args:
        old: the checksum of the old model's weights, or its name.
        new: likewise of the new model.
    """

    old: str
    new: str


@dataclass(frozen=True)
class Rows:
    """Some rows whose vectors are to be moved.

    Args:
        ids: what names them in the store.
        vectors: the old ones, shape (N, d), float32.
        models: the version written beside each; None where there is none.
    """

    ids: list[Any]
    vectors: NDArray[np.float32]
    models: list[str | None]


class VectorStore(Protocol):
    """A table of vectors in which new ones can stand beside the old ones.

    :func:`move_store` calls the methods; each must leave the table whole if the process is killed
    within it, and must be safe to call again.
    """

    @property
    def stage(self) -> Stage:
        """How far the table is."""

    @property
    def width(self) -> int:
        """Of the vectors that programs search."""

    def count_models(self) -> Mapping[str | None, int]:
        """How many of the vectors that programs search each model has made."""

    def count_pending(self, new: str, /) -> int:
        """How many rows have no vector of the new model yet."""

    def check_ids(self) -> None:
        """Raise a ValueError if an id names several rows, or a row has none."""

    def begin(self, versions: Versions, width: int) -> None:
        """Make room for vectors of the new model, of that width."""

    def pending(self, new: str, batch: int, /) -> Iterator[Rows]:
        """Rows that have no vector of the new model yet; some may be left for another call."""

    def write(self, rows: Rows, moved: NDArray[np.float32], versions: Versions) -> None:
        """Put the new vectors of these rows beside the old ones, all of them or none."""

    def finish(self) -> None:
        """Build the indexes of the new vectors that the old ones have."""

    def cut_over(self, versions: Versions, /) -> None:
        """Let programs search the new vectors, and keep the old ones."""

    def roll_back(self) -> None:
        """Let programs search the old vectors again, and keep the new ones."""

    def drop(self, which: Literal["old", "new"]) -> None:
        """Delete the vectors that programs do not search, for good."""

    def errors(self) -> AbstractContextManager[None]:
        """Turn a lost connection and the like into a :class:`StorageError`."""

    def close(self) -> None:
        """Close the connection."""
