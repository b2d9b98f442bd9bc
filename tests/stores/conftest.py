"""Real stores, each with a table of vectors: how a program would make it, add to it and read it."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pml_incremental.stores import Fields, open_store

VECTORS = np.random.default_rng(0).normal(size=(25, 6)).astype(np.float32)


class Lance:
    """A folder of LanceDB."""

    exact = True

    def __init__(self, folder):
        lancedb, self.arrow = pytest.importorskip("lancedb"), pytest.importorskip("pyarrow")
        self.url = f"lancedb:{folder}"
        self.database = lancedb.connect(str(folder))

    def create(self, vectors=VECTORS):
        arrow, width = self.arrow, vectors.shape[1]
        kind = arrow.list_(arrow.float32(), width)
        schema = arrow.schema(
            [("id", arrow.int64()), ("title", arrow.string()), ("vector", kind, False)]
        )
        columns = [
            arrow.array(range(len(vectors))),
            arrow.array([f"item {i}" for i in range(len(vectors))]),
            arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), width),
        ]
        self.database.create_table("shop", arrow.table(columns, schema))

    def add(self, row, vector, **others):
        table = self.database.open_table("shop")
        table.add([{"id": row, "title": f"item {row}", "vector": vector, **others}])

    def delete(self, row):
        self.database.open_table("shop").delete(f"id = {row}")

    def read(self, column):
        table = self.database.open_table("shop").to_arrow()
        return dict(zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True))

    def columns(self):
        return set(self.database.open_table("shop").schema.names)


class Postgres:
    """A server of its own on loopback."""

    exact = True

    def __init__(self, folder, server):
        import psycopg

        self.connection = psycopg.connect(server, autocommit=True)
        self.connection.execute("DROP TABLE IF EXISTS shop")
        self.url = server

    def create(self, vectors=VECTORS, kind="vector"):
        run = self.connection.execute
        width = vectors.shape[1]
        run(
            f"CREATE TABLE shop "
            f"(id bigint PRIMARY KEY, title text, vector {kind}({width}) NOT NULL)"
        )
        run(f"CREATE INDEX ON shop USING hnsw (vector {kind}_cosine_ops) WITH (m = 8)")
        for row, vector in enumerate(vectors):
            self.add(row, vector.tolist())

    def add(self, row, vector, **others):
        names = "".join(f", {name}" for name in others)
        places = ", %s" * len(others)
        self.connection.execute(
            f"INSERT INTO shop (id, title, vector{names}) VALUES (%s, %s, %s{places})",
            [row, f"item {row}", str(vector), *map(str, others.values())],
        )

    def delete(self, row):
        self.connection.execute("DELETE FROM shop WHERE id = %s", [row])

    def read(self, column):
        is_vector = column in ("vector", "vector_moved", "vector_before")
        found = self.connection.execute(
            f"SELECT id, {column}{'::real[]' if is_vector else ''} FROM shop"
        )
        return dict(found.fetchall())

    def columns(self):
        found = self.connection.execute("SELECT * FROM shop LIMIT 0")
        return {column.name for column in found.description}


class Qdrant:
    """A folder of Qdrant's local mode, which one process opens at a time."""

    exact = False  # cosine distance: vectors are kept at unit length

    def __init__(self, folder):
        self.qdrant = pytest.importorskip("qdrant_client")
        self.folder, self.url = folder, f"qdrant:{folder}"

    def client(self):
        return closing(self.qdrant.QdrantClient(path=str(self.folder)))

    def create(self, vectors=VECTORS):
        models = self.qdrant.models
        kind = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
        with self.client() as client:
            client.create_collection("shop_1", kind)
            alias = models.CreateAlias(collection_name="shop_1", alias_name="shop")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        for row, vector in enumerate(vectors):
            self.add(row, vector.tolist())

    def add(self, row, vector, vector_moved=None, vector_moved_model=None, **payload):
        name, model = "shop", payload
        if vector_moved is not None:
            name, vector, model = "shop_moved", vector_moved, {"vector_model": vector_moved_model}
        values = {"title": f"item {row}", **model}
        point = self.qdrant.models.PointStruct(id=row, vector=vector, payload=values)
        with self.client() as client:
            client.upsert(name, [point])

    def delete(self, row):
        with self.client() as client:
            client.delete("shop", [row])

    def read(self, column):
        side = next((side for side in ("_moved", "_before") if side in column), "")
        with self.client() as client:
            points, _ = client.scroll(f"shop{side}", limit=1000, with_vectors=True)
        key = column.replace(side, "")
        return {p.id: p.vector if key == "vector" else p.payload.get(key) for p in points}

    def columns(self):
        with self.client() as client:
            names = {alias.alias_name for alias in client.get_aliases().aliases}
        return {name.replace("shop_", "vector_") for name in names}


@pytest.fixture(scope="session")
def postgres_server():
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, programs)]))
    if found is None:
        pytest.skip("PostgreSQL's server is not installed")
    programs = Path(found).resolve().parent
    share = subprocess.check_output([programs / "pg_config", "--sharedir"], text=True).strip()
    if not (Path(share) / "extension/vector.control").is_file():
        pytest.skip("PostgreSQL's extension pgvector is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_user = {"user": "postgres"} if os.geteuid() == 0 else {}  # the server refuses root
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        data, quiet = f"{folder}/data", {"stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"],
            check=True, **quiet,
        )  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        control = [programs / "pg_ctl", "-D", data, "-w", "-o", options]
        subprocess.run([*control, "-l", f"{folder}/log", "start"], check=True, **quiet)
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            import psycopg

            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            yield url
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)


PROGRAMS = {"lance": Lance, "postgres": Postgres, "qdrant": Qdrant}


@pytest.fixture(params=list(PROGRAMS))
def program(request, tmp_path):
    """A program with a store and vectors of the old model in it."""
    more = [request.getfixturevalue("postgres_server")] if request.param == "postgres" else []
    found = PROGRAMS[request.param](tmp_path / "store", *more)
    found.create()
    found.vectors = VECTORS
    yield found
    if more:
        found.connection.close()


@pytest.fixture
def opened(program):
    """Opens the program's store as the package does, for a block."""
    return lambda *names: closing(open_store(program.url, "shop", Fields(*names)))
