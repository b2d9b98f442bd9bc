"""Vectors in Qdrant: a server, or a folder of its local mode."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pml_incremental.extras import require
from pml_incremental.storage import StorageError
from pml_incremental.stores.store import Fields, Rows, Stage, Versions

_PAGE = 1_000


class QdrantStore:
    """An alias of a Qdrant collection.

    Qdrant cannot rename vectors. The new ones are a collection of their own, ``ALIAS_VERSION``,
    with the same ids, payloads and settings. The aliases ``ALIAS_moved`` and ``ALIAS_before`` stand
    for the one that programs do not search; the cutover turns the aliases in one request, after it
    has brought along payloads that changed and deletions.

    Args:
        place: ``http://host:6333``, with a key in QDRANT_API_KEY if it asks for one, or the folder
            of Qdrant's local mode.
        alias: the name that programs search by.
        fields: the vector's name, also if it is an unnamed one, which is then a name for the
            payload; ids are Qdrant's own.

    Raises:
        MissingExtraError: if qdrant-client is not installed.
        StorageError: if the server cannot be reached.
        ValueError: if there is no such alias or vector.
    """

    def __init__(self, place: str, alias: str, fields: Fields) -> None:
        require("qdrant_client", "Qdrant", extra="qdrant")
        import qdrant_client
        from qdrant_client.http.exceptions import ApiException

        self._models, self._failures = qdrant_client.models, (ApiException, RuntimeError, OSError)
        self._alias, self._fields = alias, fields
        with self.errors():
            if "://" in place:
                key = os.environ.get("QDRANT_API_KEY")
                self._client = qdrant_client.QdrantClient(url=place, api_key=key)
            else:
                self._client = qdrant_client.QdrantClient(path=place)
            if alias not in self._aliases():
                raise ValueError(self._no_alias())
            self._config = self._client.get_collection(alias).config
        vectors = self._config.params.vectors
        self._kinds = _by_name(vectors)
        self._name = fields.vector if isinstance(vectors, dict) else ""
        if self._name not in self._kinds:
            raise ValueError(
                f"{alias} has no vector {fields.vector!r}; there are: {', '.join(self._kinds)}"
            )

    @property
    def _others(self) -> list[str] | bool:
        """Names of the vectors that a point has besides the one to move, if there are any."""
        names = [*self._kinds, *(self._config.params.sparse_vectors or {})]
        return [name for name in names if name != self._name] or False

    def _aliases(self) -> dict[str, str]:
        """Which collection each alias stands for."""
        return {a.alias_name: a.collection_name for a in self._client.get_aliases().aliases}

    def _no_alias(self) -> str:
        if self._client.collection_exists(self._alias):
            return (
                f"{self._alias} is a collection: programs that search by an alias can be switched "
                "at once. Create an alias of it, let programs use that, and name it here"
            )
        known = ", ".join(self._aliases()) or "none"
        return f"there is no alias {self._alias!r}; there are: {known}"

    @property
    def _moved(self) -> str:
        return f"{self._alias}_moved"

    @property
    def _before(self) -> str:
        return f"{self._alias}_before"

    @property
    def stage(self) -> Stage:
        """See :class:`VectorStore`."""
        aliases = self._aliases()
        if self._before in aliases:
            return "cut over"
        return "beside" if self._moved in aliases else "not begun"

    @property
    def width(self) -> int:
        """See :class:`VectorStore`."""
        return int(self._kinds[self._name].size)

    def _pages(self, collection: str, has_vector: bool, **parts: Any) -> Iterator[list[Any]]:
        """All points of a collection, page by page."""
        models, condition, offset = self._models, None, None
        if has_vector:
            condition = models.Filter(must=[models.HasVectorCondition(has_vector=self._name)])
        while True:
            page, offset = self._client.scroll(
                collection, condition, limit=_PAGE, offset=offset, **parts
            )
            if page:
                yield page
            if offset is None:
                return

    def _unmoved(self, page: list[Any]) -> list[Any]:
        """The points of a page that the new collection does not have."""
        ids = [point.id for point in page]
        there = self._client.retrieve(self._moved, ids, with_payload=False)
        known = {point.id for point in there}
        return [point for point in page if point.id not in known]

    def count_models(self) -> Mapping[str | None, int]:
        """See :class:`VectorStore`."""
        key, found = self._fields.model, Counter[str | None]()
        for page in self._pages(self._alias, has_vector=True, with_payload=[key]):
            found.update((point.payload or {}).get(key) for point in page)
        return found

    def count_pending(self, _: str) -> int:
        """See :class:`VectorStore`."""
        pages = self._pages(self._alias, has_vector=True, with_payload=False)
        if self.stage == "not begun":
            return sum(map(len, pages))
        return sum(len(self._unmoved(page)) for page in pages)

    def check_ids(self) -> None:
        """See :class:`VectorStore`; Qdrant has each id once."""

    def begin(self, versions: Versions, width: int) -> None:
        """See :class:`VectorStore`."""
        client, models = self._client, self._models
        name = f"{self._alias}_{re.sub(r'[^A-Za-z0-9_.-]', '_', versions.new)[:32]}"
        there = self._aliases().get(self._moved)
        if there == name:
            return
        if there is not None:
            raise ValueError(
                f"the alias {self._moved} stands for another move ({there}): cut that over, or "
                "drop its new vectors"
            )
        if not client.collection_exists(name):
            self._create(name, width)
        elif client.count(name).count:
            raise ValueError(
                f"the collection {name} is there already, and not of this move: delete it"
            )
        for field, index in client.get_collection(self._alias).payload_schema.items():
            client.create_payload_index(name, field, index.params or index.data_type)
        stands = models.CreateAlias(collection_name=name, alias_name=self._moved)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=stands)])

    def _create(self, name: str, width: int) -> None:
        """An empty collection with the settings of the old one but for the width."""
        models, config = self._models, self._config
        kinds = {**self._kinds, self._name: self._kinds[self._name].model_copy()}
        kinds[self._name].size = width
        self._client.create_collection(
            name,
            kinds.get("", kinds),
            sparse_vectors_config=config.params.sparse_vectors,
            shard_number=config.params.shard_number,
            replication_factor=config.params.replication_factor,
            write_consistency_factor=config.params.write_consistency_factor,
            on_disk_payload=config.params.on_disk_payload,
            hnsw_config=models.HnswConfigDiff(**config.hnsw_config.model_dump()),
            optimizers_config=models.OptimizersConfigDiff(**config.optimizer_config.model_dump()),
            quantization_config=config.quantization_config,
        )

    def pending(self, _: str, batch: int) -> Iterator[Rows]:
        """See :class:`VectorStore`."""
        is_begun, key = self.stage != "not begun", self._fields.model
        for page in self._pages(self._alias, has_vector=True, with_payload=[key]):
            left = self._unmoved(page) if is_begun else page
            for first in range(0, len(left), batch):
                some = {point.id: point for point in left[first : first + batch]}
                found = self._client.retrieve(
                    self._alias, list(some), False, [self._name] if self._name else True
                )
                ids = [point.id for point in found]
                vectors = np.array([self._of(point.vector) for point in found], np.float32)
                yield Rows(ids, vectors, [(some[i].payload or {}).get(key) for i in ids])

    def _of(self, vectors: Any) -> Any:
        """The vector to move, of those of a point."""
        return vectors[self._name] if isinstance(vectors, dict) else vectors

    def write(self, rows: Rows, moved: NDArray[np.float32], versions: Versions) -> None:
        """See :class:`VectorStore`."""
        vectors = dict(zip(rows.ids, moved.tolist(), strict=True))
        points = self._client.retrieve(self._alias, rows.ids, True, self._others)
        self._client.upsert(self._moved, [self._copied(p, vectors[p.id], versions) for p in points])
        old = [i for i, model in zip(rows.ids, rows.models, strict=True) if model is None]
        if old:
            self._client.set_payload(self._alias, {self._fields.model: versions.old}, old)

    def _copied(self, point: Any, vector: list[float] | None, versions: Versions) -> Any:
        """A point of the new collection; None: it has no vector to move."""
        others = point.vector or {}
        vectors: Any = others if vector is None else {**others, self._name: vector}
        payload = {**(point.payload or {}), **self._marks(versions)}
        found = vector if self._name == "" and vector is not None else vectors
        return self._models.PointStruct(id=point.id, vector=found, payload=payload)

    def _marks(self, versions: Versions) -> dict[str, str]:
        """What a copied point's payload says of the move."""
        return {self._fields.model: versions.new, self._copied_key: versions.old}

    @property
    def _copied_key(self) -> str:
        return f"{self._fields.vector}_moved_from"

    def finish(self) -> None:
        """See :class:`VectorStore`; Qdrant builds indexes by itself."""

    def cut_over(self, versions: Versions) -> None:
        """See :class:`VectorStore`."""
        self._bring_along(versions)
        self._turn({self._alias: self._moved, self._before: self._alias}, gone=self._moved)

    def _bring_along(self, versions: Versions) -> None:
        """Changed payloads, points without the vector, and deletions."""
        marks = self._marks(versions)
        for page in self._pages(self._alias, has_vector=False, with_payload=True):
            ids = [point.id for point in page]
            there = {point.id: point.payload for point in self._client.retrieve(self._moved, ids)}
            for point in page:
                wanted = {**(point.payload or {}), **marks}
                if point.id in there and there[point.id] != wanted:
                    self._client.overwrite_payload(self._moved, wanted, [point.id])
            left = [point.id for point in page if point.id not in there]
            if left:
                points = self._client.retrieve(self._alias, left, True, self._others)
                copies = [self._copied(point, None, versions) for point in points]
                self._client.upsert(self._moved, copies)
        for page in self._pages(self._moved, has_vector=False, with_payload=[self._copied_key]):
            ids = [point.id for point in page if (point.payload or {}).get(self._copied_key)]
            known = {p.id for p in self._client.retrieve(self._alias, ids, with_payload=False)}
            deleted = [i for i in ids if i not in known]
            if deleted:
                self._client.delete(self._moved, deleted)

    def roll_back(self) -> None:
        """See :class:`VectorStore`."""
        self._turn({self._alias: self._before, self._moved: self._alias}, gone=self._before)

    def _turn(self, stands_for: dict[str, str], gone: str) -> None:
        """Let aliases stand for what others stand for now, in one request."""
        models, aliases = self._models, self._aliases()
        steps: list[Any] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
            for name in (self._alias, gone)
        ]
        for name, other in stands_for.items():
            new = models.CreateAlias(collection_name=aliases[other], alias_name=name)
            steps.append(models.CreateAliasOperation(create_alias=new))
        self._client.update_collection_aliases(steps)
        self._kinds = _by_name(self._client.get_collection(self._alias).config.params.vectors)

    def drop(self, which: Literal["old", "new"]) -> None:
        """See :class:`VectorStore`."""
        name = self._before if which == "old" else self._moved
        collection = self._aliases()[name]
        self._client.delete_collection(collection)
        gone = self._models.DeleteAlias(alias_name=name)
        if name in self._aliases():
            self._client.update_collection_aliases(
                [self._models.DeleteAliasOperation(delete_alias=gone)]
            )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See :class:`VectorStore`."""
        try:
            yield
        except self._failures as error:
            raise StorageError(f"Qdrant: {error}; what was moved is kept: run it again") from error

    def close(self) -> None:
        """See :class:`VectorStore`."""
        self._client.close()


def _by_name(vectors: Any) -> dict[str, Any]:
    """The settings of each vector of a collection; an unnamed one has the empty name."""
    return dict(vectors) if isinstance(vectors, dict) else {"": vectors}
