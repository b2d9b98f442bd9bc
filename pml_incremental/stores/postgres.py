"""Vectors in PostgreSQL, with the extension pgvector."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pml_incremental.extras import require
from pml_incremental.storage import StorageError
from pml_incremental.stores.store import Fields, Rows, Stage, Versions

if TYPE_CHECKING:
    from typing_extensions import LiteralString


class PostgresStore:
    """A table with a column of pgvector's ``vector`` or ``halfvec``.

    The new vectors are a column beside the old one; the cutover renames both in one transaction.

    Args:
        url: ``postgresql://user@host/database``; a password belongs in PGPASSWORD or ~/.pgpass.
        table: its name, with a schema if it is not on the search path.
        fields: names of its columns.

    Raises:
        MissingExtraError: if psycopg or pgvector's Python package is not installed.
        StorageError: if the server cannot be reached.
        ValueError: if there is no such table or column.
    """

    def __init__(self, url: str, table: str, fields: Fields) -> None:
        for package in ("psycopg", "pgvector"):
            require(package, "PostgreSQL", extra="postgres")
        import psycopg
        from pgvector.psycopg import register_vector

        self._psycopg, self._fields = psycopg, fields
        with self.errors():
            self._connection = psycopg.connect(url, autocommit=True)
            if not self._run("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
                raise ValueError("the database has no extension vector: this is no pgvector store")
            register_vector(self._connection)
        self._table = psycopg.sql.Identifier(*table.split("."))
        self._name = table
        columns = self._columns()
        fields.check_in(table, columns)
        kind = re.fullmatch(r"(vector|halfvec)\((\d+)\)", columns[fields.vector][0])
        if kind is None:
            raise ValueError(
                f"the column {fields.vector!r} is {columns[fields.vector][0]}: it must be a vector "
                "or halfvec of a fixed width, such as vector(512)"
            )
        self._kind, self._width = kind[1], int(kind[2])

    def _run(self, query: LiteralString, *values: Any, **names: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, in which {name} is a column and {table} the table."""
        with self._connection.cursor() as cursor:
            cursor.execute(self._composed(query, **names), values)
            return cursor.fetchall() if cursor.description else []

    def _composed(self, query: LiteralString, **names: Any) -> Any:
        sql, fields = self._psycopg.sql, self._fields
        known = {name: sql.Identifier(getattr(fields, name)) for name in _FIELDS}
        table = getattr(self, "_table", sql.SQL(""))
        return sql.SQL(query).format(table=table, **known, **names)

    def _columns(self) -> dict[str, tuple[str, bool]]:
        """Type of each column, and whether it must not be null."""
        found = self._run(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            self._table.as_string(self._connection),
        )
        return {name: (kind, not_null) for name, kind, not_null in found}

    @property
    def stage(self) -> Stage:
        """See :class:`VectorStore`."""
        return self._fields.stage_in(self._columns())

    @property
    def width(self) -> int:
        """See :class:`VectorStore`."""
        return self._width

    def count_models(self) -> Mapping[str | None, int]:
        """See :class:`VectorStore`."""
        if self._fields.model not in self._columns():
            found = self._run("SELECT NULL, count({vector}) FROM {table}")
        else:
            found = self._run(
                "SELECT {model}, count(*) FROM {table} WHERE {vector} IS NOT NULL GROUP BY {model}"
            )
        return {model: number for model, number in found if number}

    def count_pending(self, new: str) -> int:
        """See :class:`VectorStore`."""
        if self.stage == "not begun":
            return int(self._run("SELECT count({vector}) FROM {table}")[0][0])
        found = self._run("SELECT count(*) FROM {table} WHERE " + _PENDING, new)
        return int(found[0][0])

    def check_ids(self) -> None:
        """See :class:`VectorStore`."""
        unfit = self._run(
            "SELECT {id} FROM {table} GROUP BY {id} HAVING count(*) > 1 OR {id} IS NULL LIMIT 1"
        )
        if unfit:
            raise ValueError(
                f"the column {self._fields.id!r} has {unfit[0][0]!r} twice, or an empty entry: "
                "name one that tells rows apart"
            )

    def begin(self, versions: Versions, width: int) -> None:
        """See :class:`VectorStore`."""
        columns = self._columns()
        if self._fields.moved in columns:
            other = self._run(
                "SELECT {moved_model} FROM {table} WHERE {moved_model} <> %s LIMIT 1", versions.new
            )
            kind = columns[self._fields.moved][0]
            if other or kind != f"{self._kind}({width})":
                raise ValueError(
                    f"the column {self._fields.moved!r} holds another move "
                    f"({other[0][0] if other else kind}): cut that over, or drop its new vectors"
                )
        sql = self._psycopg.sql
        self._run(
            "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {model} text, "
            "ADD COLUMN IF NOT EXISTS {moved} {kind} ({width}), "
            "ADD COLUMN IF NOT EXISTS {moved_model} text",
            kind=sql.Identifier(self._kind),
            width=sql.Literal(width),
        )

    def pending(self, new: str, batch: int) -> Iterator[Rows]:
        """See :class:`VectorStore`."""
        columns = self._columns()
        model: LiteralString = "{model}" if self._fields.model in columns else "NULL"
        where: LiteralString = _PENDING if self._fields.moved in columns else _ANY
        first: LiteralString = "SELECT {id}, {vector}, " + model + " FROM {table} WHERE " + where
        last: LiteralString = " ORDER BY {id} LIMIT %s"
        found = self._run(first + last, new, batch)
        while found:
            ids, vectors, models = map(list, zip(*found, strict=True))
            yield Rows(ids, np.array([_floats(vector) for vector in vectors]), models)
            # Rows added before this place are for the next call.
            found = self._run(first + " AND {id} > %s" + last, new, ids[-1], batch)

    def write(self, rows: Rows, moved: NDArray[np.float32], versions: Versions) -> None:
        """See :class:`VectorStore`."""
        query = self._composed(
            "UPDATE {table} SET {moved} = %s, {moved_model} = %s, {model} = coalesce({model}, %s) "
            "WHERE {id} = %s"
        )
        import pgvector

        kind = pgvector.HalfVector if self._kind == "halfvec" else pgvector.Vector
        values = [
            (kind(vector), versions.new, versions.old, row)
            for row, vector in zip(rows.ids, moved, strict=True)
        ]
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(query, values)

    def finish(self) -> None:
        """See :class:`VectorStore`."""
        sql, there = self._psycopg.sql, []
        for *index, name, is_valid in self._indexes(self._fields.moved):
            if is_valid:
                there.append(index)
            else:  # the process was killed while it was built
                self._run("DROP INDEX {name}", name=sql.Identifier(*name.split(".")))
        for *index, _, _ in self._indexes(self._fields.vector):
            if index not in there:
                method, operators, options = index
                query: LiteralString = (
                    "CREATE INDEX CONCURRENTLY ON {table} USING {method} ({moved} {operators})"
                )
                self._run(
                    query + (" WITH ({options})" if options else ""),
                    method=sql.Identifier(method),
                    operators=sql.Identifier(operators),
                    options=sql.SQL(", ".join(options or ())),
                )

    def _indexes(self, column: str) -> list[tuple[Any, ...]]:
        """Method, operator class, options, name and validity of a column's vector indexes."""
        return self._run(
            "SELECT am.amname, opc.opcname, c.reloptions, c.relnamespace::regnamespace || '.' || "
            "c.relname, i.indisvalid FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam "
            "JOIN pg_opclass opc ON opc.oid = i.indclass[0] "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
            "WHERE i.indrelid = to_regclass(%s) AND a.attname = %s "
            "AND am.amname IN ('hnsw', 'ivfflat')",
            self._table.as_string(self._connection),
            column,
        )

    def cut_over(self, _: Versions) -> None:
        """See :class:`VectorStore`."""
        self._swap(*self._fields.cut_over)

    def roll_back(self) -> None:
        """See :class:`VectorStore`."""
        self._swap(*self._fields.roll_back)

    def _swap(self, *renames: tuple[str, str]) -> None:
        """Rename columns at once; what must not be null is what programs write, if they have."""
        sql = self._psycopg.sql
        must_not_be_null = self._columns()[self._fields.vector][1]
        with self._connection.transaction():
            self._run("ALTER TABLE {table} ALTER COLUMN {vector} DROP NOT NULL")
            for old, new in renames:
                self._run(
                    "ALTER TABLE {table} RENAME COLUMN {old} TO {new}",
                    old=sql.Identifier(old),
                    new=sql.Identifier(new),
                )
            if must_not_be_null and not self._run(
                "SELECT 1 FROM {table} WHERE {vector} IS NULL LIMIT 1"
            ):
                self._run("ALTER TABLE {table} ALTER COLUMN {vector} SET NOT NULL")

    def drop(self, which: Literal["old", "new"]) -> None:
        """See :class:`VectorStore`."""
        if which == "old":
            self._run("ALTER TABLE {table} DROP COLUMN {before}, DROP COLUMN {before_model}")
        else:
            self._run("ALTER TABLE {table} DROP COLUMN {moved}, DROP COLUMN {moved_model}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See :class:`VectorStore`."""
        try:
            yield
        except self._psycopg.Error as error:
            raise StorageError(
                f"PostgreSQL: {str(error).strip()}; what was moved is kept: run it again"
            ) from error

    def close(self) -> None:
        """See :class:`VectorStore`."""
        self._connection.close()


_FIELDS = ("id", "vector", "model", "moved", "moved_model", "before", "before_model")
_ANY: LiteralString = "{vector} IS NOT NULL AND %s::text IS NOT NULL"
_PENDING: LiteralString = "{vector} IS NOT NULL AND {moved_model} IS DISTINCT FROM %s"


def _floats(vector: Any) -> NDArray[np.float32]:
    """A vector of either kind as numbers."""
    return np.asarray(getattr(vector, "to_numpy", lambda: vector)(), dtype=np.float32)
