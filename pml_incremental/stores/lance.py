"""Vectors in LanceDB, which is embedded: a folder, or an object store's address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pml_incremental.extras import require
from pml_incremental.storage import StorageError
from pml_incremental.stores.store import Fields, Rows, Stage, Versions


class LanceStore:
    """A LanceDB table with a column of vectors of one width.

    The new vectors are a column beside the old one; the cutover renames both in one commit.

    Args:
        place: the database's folder or address.
        table: its name.
        fields: names of its columns.

    Raises:
        MissingExtraError: if lancedb is not installed.
        StorageError: if the database cannot be opened.
        ValueError: if there is no such table or column.
    """

    def __init__(self, place: str, table: str, fields: Fields) -> None:
        require("lancedb", "LanceDB", extra="lancedb")
        import lancedb
        import pyarrow

        self._arrow, self._fields = pyarrow, fields
        with self.errors():
            database = lancedb.connect(place)
            names = database.list_tables().tables
        if table not in names:
            raise ValueError(
                f"{place} has no table {table!r}; there are: {', '.join(names) or 'none'}"
            )
        with self.errors():
            self._table = database.open_table(table)
        schema = self._table.schema
        fields.check_in(table, schema.names)
        kind = schema.field(fields.vector).type
        if not pyarrow.types.is_fixed_size_list(kind):
            raise ValueError(f"the column {fields.vector!r} is {kind}, not vectors of one width")
        self._kind = kind

    @property
    def stage(self) -> Stage:
        """See :class:`VectorStore`."""
        return self._fields.stage_in(self._table.schema.names)

    @property
    def width(self) -> int:
        """See :class:`VectorStore`."""
        return int(self._kind.list_size)

    def count_models(self) -> Mapping[str | None, int]:
        """See :class:`VectorStore`."""
        fields, found = self._fields, Counter[str | None]()
        if fields.model not in self._table.schema.names:
            total = self._table.count_rows(f"`{fields.vector}` IS NOT NULL")
            return {None: total} if total else {}
        for part in self._rows(f"`{fields.vector}` IS NOT NULL", [fields.model]):
            found.update(part[fields.model].to_pylist())
        return found

    def count_pending(self, new: str) -> int:
        """See :class:`VectorStore`."""
        return int(self._table.count_rows(self._pending(new)))

    def _pending(self, new: str) -> str:
        has_vector = f"`{self._fields.vector}` IS NOT NULL"
        if self._fields.moved not in self._table.schema.names:
            return has_vector
        model = f"`{self._fields.moved_model}`"
        return f"{has_vector} AND ({model} IS NULL OR {model} <> {_quoted(new)})"

    def _rows(self, where: str, columns: list[str], batch: int = 65_536) -> Any:
        """Rows as they are now, part by part."""
        return self._table.search().where(where).select(columns).to_batches(batch)

    def check_ids(self) -> None:
        """See :class:`VectorStore`."""
        from pyarrow import compute

        ids = self._table.search().select([self._fields.id]).to_arrow()[self._fields.id]
        if ids.null_count or compute.count_distinct(ids).as_py() < len(ids):
            raise ValueError(
                f"the column {self._fields.id!r} has an id twice, or an empty entry: name one that "
                "tells rows apart"
            )

    def begin(self, versions: Versions, width: int) -> None:
        """See :class:`VectorStore`."""
        arrow, fields, schema = self._arrow, self._fields, self._table.schema
        if fields.moved in schema.names:
            model = f"`{fields.moved_model}`"
            other = self._table.count_rows(f"{model} <> {_quoted(versions.new)}")
            if other or schema.field(fields.moved).type.list_size != width:
                raise ValueError(
                    f"the column {fields.moved!r} holds another move: cut that over, or drop its "
                    "new vectors"
                )
            return
        fresh = [
            arrow.field(fields.moved, arrow.list_(self._kind.value_type, width)),
            arrow.field(fields.moved_model, arrow.string()),
        ]
        if fields.model not in schema.names:
            fresh.append(arrow.field(fields.model, arrow.string()))
        self._table.add_columns(fresh)

    def pending(self, new: str, batch: int) -> Iterator[Rows]:
        """See :class:`VectorStore`."""
        fields = self._fields
        columns = [fields.id, fields.vector]
        if fields.model in self._table.schema.names:
            columns.append(fields.model)
        for part in self._rows(self._pending(new), columns, batch):
            if len(part):
                flat = part[fields.vector].flatten().to_numpy(zero_copy_only=False)
                vectors = flat.reshape(len(part), self.width).astype(np.float32)
                has_model = fields.model in columns
                models = part[fields.model].to_pylist() if has_model else [None] * len(part)
                yield Rows(part[fields.id].to_pylist(), vectors, models)

    def write(self, rows: Rows, moved: NDArray[np.float32], versions: Versions) -> None:
        """See :class:`VectorStore`."""
        arrow, fields, schema = self._arrow, self._fields, self._table.schema
        kind = schema.field(fields.moved).type
        values = arrow.array(moved.ravel()).cast(kind.value_type)
        columns = {
            fields.id: arrow.array(rows.ids, schema.field(fields.id).type),
            fields.moved: arrow.FixedSizeListArray.from_arrays(values, kind.list_size),
            fields.moved_model: arrow.array([versions.new] * len(rows.ids)),
            fields.model: arrow.array([model or versions.old for model in rows.models]),
        }
        update = self._table.merge_insert(fields.id).when_matched_update_all()
        update.execute(arrow.table(columns))

    def finish(self) -> None:
        """See :class:`VectorStore`."""
        from lancedb import index as kinds

        there = {(index.index_type, tuple(index.columns)) for index in self._table.list_indices()}
        for index in self._table.list_indices():
            wanted = index.index_type, (self._fields.moved,)
            if list(index.columns) == [self._fields.vector] and wanted not in there:
                stats = self._table.index_stats(index.name)
                assert stats is not None
                config = getattr(kinds, index.index_type)(distance_type=stats.distance_type)
                self._table.create_index(self._fields.moved, config=config)
        self._table.optimize()

    def cut_over(self, _: Versions) -> None:
        """See :class:`VectorStore`."""
        self._rename(*self._fields.cut_over)

    def roll_back(self) -> None:
        """See :class:`VectorStore`."""
        self._rename(*self._fields.roll_back)

    def _rename(self, *renames: tuple[str, str]) -> None:
        """Rename columns at once; programs need not write those that they do not know."""
        changes: list[Any] = [
            {"path": old, "rename": new, "nullable": True} for old, new in renames
        ]
        self._table.alter_columns(*changes)
        self._kind = self._table.schema.field(self._fields.vector).type

    def drop(self, which: Literal["old", "new"]) -> None:
        """See :class:`VectorStore`."""
        fields = self._fields
        if which == "old":
            self._table.drop_columns([fields.before, fields.before_model])
        else:
            self._table.drop_columns([fields.moved, fields.moved_model])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See :class:`VectorStore`."""
        try:
            yield
        except (RuntimeError, OSError) as error:  # what lancedb raises of its own
            raise StorageError(f"LanceDB: {error}; what was moved is kept: run it again") from error

    def close(self) -> None:
        """See :class:`VectorStore`."""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
