"""Which store an address names."""

from __future__ import annotations

from collections.abc import Callable

from pml_incremental.stores.lance import LanceStore
from pml_incremental.stores.postgres import PostgresStore
from pml_incremental.stores.qdrant import QdrantStore
from pml_incremental.stores.store import Fields, VectorStore

_STORES: dict[str, Callable[[str, str, Fields], VectorStore]] = {
    "postgresql://": PostgresStore,
    "postgres://": PostgresStore,
    "lancedb:": lambda url, *rest: LanceStore(url.removeprefix("lancedb:"), *rest),
    "qdrant:": lambda url, *rest: QdrantStore(url.removeprefix("qdrant:"), *rest),
}


def open_store(url: str, table: str, fields: Fields | None = None) -> VectorStore:
    """Open the table of a vector store.

    Args:
        url: ``lancedb:FOLDER`` (or an object store's address behind it), ``qdrant:FOLDER`` for the
            local mode, ``qdrant:http://host:6333``, or ``postgresql://user@host/database``.
        table: its name; in Qdrant an alias.
        fields: names of the id's and the vector's columns; default: ``id`` and ``vector``.

    Raises:
        ValueError: if the address is of no kind above, or there is no such table or column.
        MissingExtraError: if the store's client is not installed.
        StorageError: if the store cannot be opened.

    Example:
        >>> open_store("redis://localhost", "shop")
        Traceback (most recent call last):
        ValueError: no store is known for redis://localhost: give postgresql://, ...
    """
    for start, opened in _STORES.items():
        if url.startswith(start):
            return opened(url, table, Fields() if fields is None else fields)
    known = ", ".join(_STORES)
    raise ValueError(f"no store is known for {url}: give {known}")
