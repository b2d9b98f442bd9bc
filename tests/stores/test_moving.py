"""A move is what the map says of each row, whatever happens meanwhile."""

import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pml_incremental.cli.commands import app
from pml_incremental.gallery import EmbeddingMap, MapQuality
from pml_incremental.storage import StorageError
from pml_incremental.stores import (
    Versions,
    cut_over,
    drop_new,
    drop_old,
    move_store,
    open_store,
    roll_back,
)

VERSIONS = Versions("clip-v1", "clip-v2")
_ = torch.Generator().manual_seed(0)
MAP = EmbeddingMap(
    torch.randn(4, 6, generator=_),
    torch.randn(4, generator=_),
    "affine",
    MapQuality(9, 0.9, None, 0.5, None),
)


def mapped(vectors):
    return MAP.apply(torch.as_tensor(np.asarray(vectors, np.float32))).numpy()


def assert_rows(found, expected, unit=False):
    """The same ids, with nearly the same vectors; lengths do not count where a store drops them."""
    assert found.keys() == dict(expected).keys()
    for row, vector in dict(expected).items():
        pair = [np.asarray(values) for values in (found[row], vector)]
        if unit:
            pair = [values / np.linalg.norm(values) for values in pair]
        np.testing.assert_allclose(*pair, atol=1e-6)


def old_rows(program):
    return dict(enumerate(program.vectors))


def new_rows(program):
    return dict(enumerate(mapped(program.vectors)))


def move(opened, **options):
    with opened() as store:
        return move_store(store, MAP, VERSIONS, batch=10, **options)


def test_all_steps_there_and_back(program, opened):
    is_unit = not program.exact
    report = move(opened, dry_run=True)
    assert (report.total, report.moved, report.pending) == (25, 0, 25)
    assert "vector_moved" not in program.columns()
    assert move(opened).moved == 25
    assert_rows(program.read("vector"), old_rows(program), is_unit)
    assert_rows(program.read("vector_moved"), new_rows(program))
    assert set(program.read("vector_moved_model").values()) == {"clip-v2"}
    assert set(program.read("vector_model").values()) == {"clip-v1"}
    assert move(opened).moved == 0
    for _ in range(2):
        with opened() as store:
            cut_over(store, VERSIONS)
        assert_rows(program.read("vector"), new_rows(program))
        assert_rows(program.read("vector_before"), old_rows(program), is_unit)
        assert program.read("title") == {row: f"item {row}" for row in range(25)}
        with opened() as store:
            roll_back(store)
        assert_rows(program.read("vector"), old_rows(program), is_unit)
    with opened() as store:
        cut_over(store, VERSIONS)
        drop_old(store, VERSIONS)
    assert_rows(program.read("vector"), new_rows(program))
    assert set(program.read("vector_model").values()) == {"clip-v2"}
    assert not program.columns() & {"vector_before", "vector_moved"}


def test_the_next_move_starts_where_the_last_one_ended(program, opened):
    move(opened)
    with opened() as store:
        cut_over(store, VERSIONS)
        drop_old(store, VERSIONS)
    back = EmbeddingMap(MAP.weight.T.contiguous(), torch.ones(6), "affine", MAP.quality)
    with opened() as store:
        report = move_store(store, back, Versions("clip-v2", "clip-v3"))
        cut_over(store, Versions("clip-v2", "clip-v3"))
    assert report.moved == 25
    wanted = back.apply(torch.from_numpy(mapped(program.vectors))).numpy()
    assert_rows(program.read("vector"), dict(enumerate(wanted)))


def test_vectors_added_meanwhile_are_told_apart_by_their_version(program, opened):
    move(opened)
    rows = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    program.add(25, rows[0].tolist())
    program.add(-5 % 2**40, rows[1].tolist(), vector_model="clip-v1")
    own = mapped(rows[2:])[0]
    program.add(26, rows[2].tolist(), vector_moved=own.tolist(), vector_moved_model="clip-v2")
    with opened() as store, pytest.raises(ValueError, match="2 rows have no vector of the new"):
        cut_over(store, VERSIONS)
    assert move(opened).moved == 2
    with opened() as store:
        cut_over(store, VERSIONS)
    added = {25: mapped(rows[:1])[0], -5 % 2**40: mapped(rows[1:2])[0], 26: own}
    assert_rows(program.read("vector"), {**new_rows(program), **added})


def test_a_vector_that_the_new_model_has_written_is_copied(program, opened):
    square = EmbeddingMap(torch.eye(6).flip(0), torch.zeros(6), "orthogonal", MAP.quality)
    with opened() as store:
        move_store(store, square, VERSIONS)
    own = np.eye(6, dtype=np.float32)[2]
    program.add(25, own.tolist(), vector_model="clip-v2")
    with opened() as store:
        assert move_store(store, square, VERSIONS).moved == 1
    np.testing.assert_array_equal(program.read("vector_moved")[25], own)


def test_rows_deleted_meanwhile_stay_deleted(program, opened):
    move(opened)
    program.delete(7)
    with opened() as store:
        cut_over(store, VERSIONS)
    expected = new_rows(program)
    del expected[7]
    assert_rows(program.read("vector"), expected)


def test_a_write_that_fails_loses_nothing(program, opened, monkeypatch):
    with opened() as store:
        write, calls = store.write, []

        def fails(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise OSError("the connection is gone")
            write(*arguments)

        monkeypatch.setattr(store, "write", fails)
        with pytest.raises((StorageError, OSError), match="the connection is gone"):
            move_store(store, MAP, VERSIONS, batch=10)
    assert_rows(program.read("vector"), old_rows(program), not program.exact)
    assert move(opened).moved == 15
    assert_rows(program.read("vector_moved"), new_rows(program))


@pytest.mark.parametrize("program", ["postgres"], indirect=True)
def test_a_lost_connection_is_reported_and_the_move_goes_on(program, opened):
    with opened() as store:
        write = store.write

        def loses_connection(*arguments):
            write(*arguments)
            program.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

        store.write = loses_connection
        with pytest.raises(StorageError, match=r"(?s)PostgreSQL: .* what was moved is kept"):
            move_store(store, MAP, VERSIONS, batch=10)
    with pytest.raises(StorageError, match="refused"):
        open_store("postgresql://nobody@127.0.0.1:1/none", "shop")
    assert move(opened).moved == 15


@pytest.mark.parametrize("program", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_new_vectors_have_the_type_and_the_index_of_the_old_ones(program, opened, kind):
    program.connection.execute("DROP TABLE shop")
    program.create(kind=kind)
    move(opened)
    with opened() as store:
        cut_over(store, VERSIONS)
    found = program.connection.execute("SELECT indexdef FROM pg_indexes WHERE indexdef ~ 'hnsw'")
    options = f"{kind}_cosine_ops) WITH (m='8')"
    wanted = {f"(vector {options}", f"(vector_before {options}"}
    assert {text.split("hnsw ")[1] for (text,) in found} == wanted
    assert program.read("vector")[3] == pytest.approx(mapped(program.vectors)[3], abs=1e-3)


@pytest.mark.parametrize("program", ["lance", "postgres"], indirect=True)
def test_ids_that_name_several_rows_are_refused(program, opened, request):
    names = []
    if request.node.callspec.params["program"] == "lance":
        program.add(3, program.vectors[0].tolist())
    else:
        program.connection.execute("UPDATE shop SET title = 'same'")
        names = ["title"]
    with opened(*names) as store, pytest.raises(ValueError, match=r"twice, or an empty entry"):
        move_store(store, MAP, VERSIONS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nothing"], r"no column 'nothing'; there are: id, title, vector"),
        (["id", "title"], r"must be a vector|not vectors of one width"),
    ],
)
@pytest.mark.parametrize("program", ["lance", "postgres"], indirect=True)
def test_columns_that_are_not_there_are_named(opened, names, message):
    with pytest.raises(ValueError, match=message):
        opened(*names)


@pytest.mark.parametrize("program", ["qdrant"], indirect=True)
def test_a_collection_without_an_alias_is_refused(program):
    with pytest.raises(ValueError, match="shop_1 is a collection: programs that search by an al"):
        open_store(program.url, "shop_1")
    with pytest.raises(ValueError, match="no alias 'other'; there are: shop"):
        open_store(program.url, "other")


@pytest.mark.parametrize("program", ["qdrant"], indirect=True)
def test_other_vectors_of_a_point_are_copied(program, opened):
    models = program.qdrant.models
    size = {"vector": 6, "text": 3}
    kinds = {k: models.VectorParams(size=n, distance="Euclid") for k, n in size.items()}
    vector, text = program.vectors[0].tolist(), [1.0, 2.0, 3.0]
    with program.client() as client:
        client.create_collection("both", kinds)
        alias = models.CreateAlias(collection_name="both", alias_name="named")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        whole = models.PointStruct(id=0, vector={"vector": vector, "text": text})
        client.upsert("named", [whole, models.PointStruct(id=1, vector={"text": text})])
    with closing(open_store(program.url, "named")) as store:
        assert move_store(store, MAP, VERSIONS).moved == 1
        cut_over(store, VERSIONS)
    with program.client() as client:
        first, second = client.retrieve("named", [0, 1], with_vectors=True)
    assert first.vector["vector"] == pytest.approx(mapped([vector])[0], abs=1e-6)
    assert (first.vector["text"], second.vector) == (text, {"text": text})


@pytest.mark.parametrize("program", ["qdrant"], indirect=True)
def test_payloads_that_changed_since_the_move_are_brought_along(program, opened):
    move(opened)
    with program.client() as client:
        client.set_payload("shop", {"title": "sold"}, [4])
    with opened() as store:
        cut_over(store, VERSIONS)
    assert program.read("title")[4] == "sold"


def test_a_move_that_is_given_up_leaves_the_table_as_it_was(program, opened):
    move(opened)
    with opened() as store:
        drop_new(store)
    assert "vector_moved" not in program.columns()
    assert_rows(program.read("vector"), old_rows(program), not program.exact)
    with opened() as store:
        other = Versions("clip-v1", "clip-v3")
        assert move_store(store, MAP, other).moved == 25


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda store: cut_over(store, VERSIONS), "nothing to cut over: the move is not begun"),
        (roll_back, "nothing to roll back: the move is not begun"),
        (lambda store: drop_old(store, VERSIONS), "no old vectors to drop: .* cut over first"),
        (drop_new, "no new vectors to drop: the move is not begun"),
        (lambda store: move_store(store, MAP, Versions("a", "a")), "are the same: a"),
    ],
)
def test_steps_out_of_order_are_refused(opened, step, message):
    with opened() as store, pytest.raises(ValueError, match=message):
        step(store)


def test_what_does_not_fit_the_map_is_refused(program, opened):
    with opened() as store:
        narrow = EmbeddingMap(torch.eye(5), torch.zeros(5), "identity", MAP.quality)
        with pytest.raises(ValueError, match="takes vectors of width 5, the store's have 6"):
            move_store(store, narrow, VERSIONS)
        move_store(store, MAP, VERSIONS)
        with pytest.raises(ValueError, match=r"holds another move|stands for another move"):
            move_store(store, MAP, Versions("clip-v1", "clip-v9"))
    program.add(25, program.vectors[0].tolist(), vector_model="dino")
    with opened() as store, pytest.raises(ValueError, match=r"of another model \(1 of dino\)"):
        move_store(store, MAP, VERSIONS)
    program.delete(25)
    with opened() as store:
        cut_over(store, VERSIONS)
        with pytest.raises(ValueError, match="roll it back, or drop them"):
            move_store(store, MAP, VERSIONS)
        drop_old(store, VERSIONS)
        with pytest.raises(ValueError, match=r"new model already \(clip-v2\)"):
            move_store(store, MAP, VERSIONS)


def test_old_vectors_are_kept_while_unknown_ones_are_in_use(program, opened):
    move(opened)
    with opened() as store:
        cut_over(store, VERSIONS)
    program.add(25, [1.0, 2.0, 3.0, 4.0])
    with opened() as store:
        with pytest.raises(ValueError, match=r"not known .* \(1 of no version\)"):
            drop_old(store, VERSIONS)
        roll_back(store)
    assert_rows(
        {row: vector for row, vector in program.read("vector").items() if row != 25},
        old_rows(program),
        not program.exact,
    )


@pytest.mark.slow
def test_killed_moves_go_on(program, opened, tmp_path):
    MAP.save(tmp_path / "map.safetensors")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pml_incremental.gallery import EmbeddingMap\n"
        "from pml_incremental.stores import Versions, move_store, open_store\n"
        "store, found = open_store(sys.argv[1], 'shop'), EmbeddingMap.load(Path(sys.argv[2]))\n"
        "print('moving', flush=True)\n"
        "move_store(store, found, Versions('clip-v1', 'clip-v2'), batch=1)\n"
    )
    for pause in (0.0, 0.02, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", script, program.url, str(tmp_path / "map.safetensors")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"moving\n"
        time.sleep(pause)
        process.kill()
        process.communicate()
    move(opened)
    assert_rows(program.read("vector_moved"), new_rows(program))
    assert_rows(program.read("vector"), old_rows(program), not program.exact)
    with opened() as store:
        cut_over(store, VERSIONS)
    assert_rows(program.read("vector"), new_rows(program))


def test_by_command(program, tmp_path):
    MAP.save(tmp_path / "map.safetensors")
    place = ["gallery", "move-store", program.url, "--table", "shop"]
    names = ["--old", "clip-v1", "--new", "clip-v2", "--map", str(tmp_path / "map.safetensors")]

    def run(*options):
        result = CliRunner().invoke(app, [*place, *options])
        return result.exit_code, result.output

    assert run(*names, "--dry-run") == (0, "25 vectors, 25 to move; nothing is written\n")
    code, output = run(*names, "--quiet")
    assert code == 0
    assert "25 vectors, 25 moved, 0 left" in output
    assert "--cut-over" in output
    assert run(*names, "--cut-over")[0] == 0
    assert_rows(program.read("vector"), new_rows(program))
    assert run("--roll-back")[0] == 0
    assert_rows(program.read("vector"), old_rows(program), not program.exact)
    assert run(*names, "--cut-over", "--drop-old")[0] == 2
    assert run("--drop-new")[0] == 0
    assert "vector_moved" not in program.columns()
    code, output = run("--cut-over")
    assert (code, "--map" in output) == (2, True)


def test_addresses_of_no_store_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no store is known for redis://x"):
        open_store("redis://x", "shop")
