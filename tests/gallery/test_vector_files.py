import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pml_incremental.cli.commands import app
from pml_incremental.gallery import (
    EmbeddingMap,
    Gallery,
    ModelVersion,
    WeightsModel,
    add_to_gallery,
    export_gallery,
    import_gallery,
    remove_from_gallery,
    search_gallery,
    update_gallery,
)
from pml_incremental.gallery.image_files import ImageFiles

WRITTEN = Path(__file__).parents[1] / "data" / "written_before"
WEIGHTS = WRITTEN / "run/function-matching/task_3/model.safetensors"
MODEL = {"name": "clip-v1"}
VECTORS = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
IDS = tuple(f"item {i}" for i in range(30))
LABELS = tuple("abc"[i % 3] for i in range(30))
KINDS = [".npy", ".npz", ".safetensors", ".parquet", ".faiss"]


@pytest.fixture
def gallery():
    return Gallery(VECTORS, ImageFiles(None, IDS, LABELS), MODEL, None, ("made here",))


def needs(kind):
    if kind in (".parquet", ".faiss"):
        pytest.importorskip({".parquet": "pyarrow", ".faiss": "faiss"}[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_is_imported_again(gallery, tmp_path, kind):
    needs(kind)
    target = tmp_path / f"vectors{kind}"
    export_gallery(gallery, target)
    back = import_gallery(target, MODEL)
    assert torch.equal(back.vectors, VECTORS)
    if kind in (".npz", ".parquet"):
        assert (back.files.ids, back.files.labels) == (IDS, LABELS)
    else:
        assert back.files.ids == tuple(map(str, range(30)))
        assert set(back.files.labels) == {""}
    back.save(tmp_path / "gallery")
    loaded = Gallery.load(tmp_path / "gallery")
    assert (loaded.model, loaded.files, loaded.history) == (MODEL, back.files, back.history)
    with pytest.raises(ValueError, match=r"exists: choose another name"):
        export_gallery(gallery, target)


def test_faiss_indexes_give_their_vectors_back(tmp_path):
    faiss = pytest.importorskip("faiss")
    rows = VECTORS.repeat(4, 1).numpy() + np.arange(120)[:, None] / 100
    rows = rows.astype(np.float32)
    numbers = np.arange(120) * 7
    quantizer = faiss.IndexFlatL2(6)
    ivf = faiss.IndexIVFFlat(quantizer, 6, 3)
    ivf.train(rows)
    ivf.add(rows)
    named = faiss.IndexIDMap(faiss.IndexFlatL2(6))
    named.add_with_ids(rows, numbers)
    hnsw = faiss.IndexHNSWFlat(6, 8)
    hnsw.add(rows)
    for name, index in {"ivf": ivf, "named": named, "hnsw": hnsw}.items():
        faiss.write_index(index, str(tmp_path / f"{name}.index"))
        found = import_gallery(tmp_path / f"{name}.index", MODEL)
        np.testing.assert_array_equal(found.vectors.numpy(), rows)
        assert found.files.ids[2] == ("14" if name == "named" else "2")


def test_half_precision_and_names_from_a_text_file(tmp_path):
    np.save(tmp_path / "half.npy", VECTORS.half().numpy())
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    found = import_gallery(tmp_path / "half.npy", MODEL, tmp_path / "ids.txt")
    assert found.vectors.dtype == torch.float32
    assert found.files.ids == IDS
    torch.testing.assert_close(found.vectors, VECTORS, atol=1e-3, rtol=1e-3)


def test_a_column_of_lists_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"emb": [row.tolist() for row in VECTORS], "id": list(range(30)), "price": [1.0] * 30}
    parquet.write_table(pyarrow.table(table), tmp_path / "shop.parquet")
    found = import_gallery(tmp_path / "shop.parquet", MODEL, column="emb")
    torch.testing.assert_close(found.vectors, VECTORS)
    assert found.files.ids[3] == "3"
    with pytest.raises(ValueError, match="no column 'vector'; there are: emb, id, price"):
        import_gallery(tmp_path / "shop.parquet", MODEL)
    parquet.write_table(pyarrow.table({"vector": [[1.0, 2.0], [1.0]]}), tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match="'vector' are not all of one width"):
        import_gallery(tmp_path / "odd.parquet", MODEL)


def test_bad_files_are_refused(gallery, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \.npy, \.npz"):
        import_gallery(tmp_path / "x.txt", MODEL)
    with pytest.raises(ValueError, match="does not exist: give a file"):
        import_gallery(tmp_path / "x.npy", MODEL)
    for name, rows, says in (
        ("flat", np.ones(3), r"shape \(N, d\), got float64 of shape \(3,\)"),
        ("whole", np.ones((3, 2), dtype=int), "floating-point rows"),
        ("nan", np.full((3, 2), np.nan), r"nan\.npy has a vector that is not finite"),
    ):
        np.save(tmp_path / f"{name}.npy", rows)
        with pytest.raises(ValueError, match=says):
            import_gallery(tmp_path / f"{name}.npy", MODEL)
    (tmp_path / "empty.npy").touch()
    with pytest.raises(ValueError, match=r"empty\.npy cannot be read as vectors"):
        import_gallery(tmp_path / "empty.npy", MODEL)
    for kind in KINDS[:4]:
        needs(kind)
        (tmp_path / f"bad{kind}").write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=rf"bad\{kind} cannot be read as vectors"):
            import_gallery(tmp_path / f"bad{kind}", MODEL)
    np.save(tmp_path / "some.npy", np.ones((3, 2)))
    for text, says in (("a\nb", "3 vectors have 2 ids"), ("a\nb\na", "'a' appears twice")):
        (tmp_path / "ids.txt").write_text(text)
        with pytest.raises(ValueError, match=says):
            import_gallery(tmp_path / "some.npy", MODEL, tmp_path / "ids.txt")


def test_removed_and_added_rows_of_an_ivf_index_keep_their_numbers(tmp_path):
    faiss = pytest.importorskip("faiss")
    rows = VECTORS.numpy()
    index = faiss.index_factory(6, "IVF2,Flat")
    index.train(rows)
    index.add(rows[:10])
    index.remove_ids(np.array([3]))
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    found = import_gallery(tmp_path / "x.faiss", MODEL)
    assert found.files.ids == tuple("012456789")
    np.testing.assert_array_equal(found.vectors.numpy(), np.delete(rows[:10], 3, axis=0))
    index.add(rows[10:11])  # faiss gives it a number that is taken
    faiss.write_index(index, str(tmp_path / "y.faiss"))
    with pytest.raises(ValueError, match="the id '9' appears twice"):
        import_gallery(tmp_path / "y.faiss", MODEL)


@pytest.mark.parametrize("kind", ["PQ3x4", "LSH", "PCA4,Flat", "SQ8"])
def test_indexes_without_the_vectors_as_they_were_are_refused(tmp_path, kind):
    faiss = pytest.importorskip("faiss")
    rows = VECTORS.repeat(4, 1).numpy()
    index = faiss.index_factory(6, kind)
    index.train(rows)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    with pytest.raises(ValueError, match="does not hold the vectors as they were: give a flat"):
        import_gallery(tmp_path / "x.faiss", MODEL)


def test_empty_entries_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def found(**columns):
        parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
        return import_gallery(tmp_path / "x.parquet", MODEL)

    whole = [[1.0, 2.0], [3.0, 4.0]]
    assert found(vector=whole, label=["cat", None]).files.labels == ("cat", "")
    with pytest.raises(ValueError, match="'id' has empty entries"):
        found(vector=whole, id=["a", None])
    for column in ([None, [1.0, 2.0]], [1.0, 2.0], ["a", "b"]):
        with pytest.raises(ValueError, match="does not hold a list of numbers in every row"):
            found(vector=column)


def test_names_are_one_a_line_whoever_wrote_them(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS[:3].numpy())
    (tmp_path / "ids.txt").write_bytes("\ufeffa\r\nb\u2028c\r\nd\r\n".encode())
    found = import_gallery(tmp_path / "v.npy", MODEL, tmp_path / "ids.txt")
    assert found.files.ids == ("a", "b\u2028c", "d")
    np.savez(tmp_path / "v.npz", vectors=VECTORS[:2].numpy(), ids=np.array([b"a", b"b"]))
    assert import_gallery(tmp_path / "v.npz", MODEL).files.ids == ("a", "b")
    np.savez(tmp_path / "v.npz", vectors=VECTORS[:2].numpy(), labels=["a"])
    with pytest.raises(ValueError, match="has 1 labels for 2 vectors"):
        import_gallery(tmp_path / "v.npz", MODEL)


def test_rows_are_added_and_removed(gallery):
    more = Gallery(VECTORS[:2], ImageFiles(None, ("x", "y"), ("", "")), MODEL)
    grown = add_to_gallery(gallery, more)
    assert torch.equal(grown.vectors, torch.cat([VECTORS, VECTORS[:2]]))
    assert grown.files.ids == (*IDS, "x", "y")
    back = remove_from_gallery(grown, ["x", "y"])
    assert (back.files, torch.equal(back.vectors, VECTORS)) == (gallery.files, True)
    with pytest.raises(ValueError, match="'item 0' appears twice"):
        add_to_gallery(gallery, gallery)
    with pytest.raises(ValueError, match=r"another model \(other\) than the gallery's \(clip-v1\)"):
        add_to_gallery(gallery, Gallery(more.vectors, more.files, {"name": "other"}))
    with pytest.raises(ValueError, match="width 3 cannot join those of width 6"):
        add_to_gallery(gallery, Gallery(VECTORS[:2, :3], more.files, MODEL))
    with pytest.raises(ValueError, match="not in the gallery: nothing"):
        remove_from_gallery(gallery, ["nothing", "item 1"])
    with pytest.raises(ValueError, match="no row would be left"):
        remove_from_gallery(gallery, IDS)


def test_vectors_alone_are_moved_and_searched(gallery):
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1))).Q
    found = EmbeddingMap.fit(VECTORS, VECTORS @ turn)
    moved = update_gallery(gallery, found, {"name": "clip-v2"})
    assert moved.model == {"name": "clip-v2"}
    queries = ImageFiles(None, ("q",), ("b",))
    result = search_gallery(moved, queries, moved.vectors[4:5], k=1)
    assert (result.rows.item(), result.recall_at_1) == (4, 1.0)
    unknown = search_gallery(moved, ImageFiles(None, ("q",), ("",)), moved.vectors[4:5], k=1)
    assert unknown.unanswerable == 1
    with pytest.raises(ValueError, match="already come from the new model"):
        update_gallery(moved, found, {"name": "clip-v2"})
    with pytest.raises(ValueError, match=r"knows its model only by name \(clip-v2\)"):
        ModelVersion.described(moved.model)


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("old.npy", VECTORS.numpy())
    np.save("new.npy", -VECTORS.numpy())
    shutil.copytree(WRITTEN / "images", "images")

    def call(*arguments, code=0):
        done = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
        assert done.exit_code == code, done.output
        return done.output

    assert "30 vectors, 6 numbers each" in call("import", "old.npy", "g", "--model", "v1")
    assert "by --weights or by --model" in call("import", "old.npy", "h", code=2)
    said = call("fit-map", "map.safetensors", "--pairs", "old.npy", "new.npy")
    assert "map: orthogonal, from 30 pairs" in said
    call("update", "g", "g2", "--map", "map.safetensors", "--model", "v2")
    torch.testing.assert_close(
        Gallery.load(Path("g2")).vectors, torch.nn.functional.normalize(-VECTORS, dim=1)
    )
    call("export", "g2", "back.npz")
    call("move", "old.npy", "moved.npy", "--map", "map.safetensors", "--quiet")
    np.testing.assert_array_equal(np.load("moved.npy"), np.load("back.npz")["vectors"])
    call("remove", "g2", "g3", "0", "1")
    assert len(Gallery.load(Path("g3")).vectors) == 28
    call("build", "images/class_0", "few", "--weights", WEIGHTS, "--quiet")
    call("add", "few", "more", "images/class_1", "--quiet")
    more = Gallery.load(Path("more"))
    assert more.files.ids[3:5] == ("class_0/3.png", "class_1/0.png")
    assert more.files.missing() == []
    call("build", "images", "all", "--weights", WEIGHTS, "--quiet")
    smaller = [name for name in Gallery.load(Path("all")).files.ids if "class_2" in name]
    call("remove", "all", "without", *smaller)
    shutil.rmtree("images/class_0")
    shutil.rmtree("images/class_1")
    call("add", "without", "again", "images", "--quiet")
    again, whole = Gallery.load(Path("again")), Gallery.load(Path("all"))
    assert again.files.ids == whole.files.ids
    torch.testing.assert_close(again.vectors, whole.vectors)
    assert again.model == WeightsModel(WEIGHTS.resolve()).describe()
