import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pml_incremental.gallery import EmbeddingMap
from pml_incremental.gallery import embedding_map as module
from pml_incremental.gallery.embedding_map import ROWS_AT_ONCE
from pml_incremental.gallery.map_fitting import _full_rank, neighbours_kept
from pml_incremental.storage import DamagedFileError, write_tensor_file


def rows(number, width, seed=0):
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def turn(width, seed=1):
    return torch.linalg.qr(rows(width, width, seed)).Q


OLD = rows(300, 12)
AFFINE = F.normalize(OLD, dim=1) @ rows(12, 12, 2) + 0.3
FEW = F.normalize(rows(120, 40), dim=1)
CHANGES = {
    "identity": (OLD, OLD),
    "orthogonal": (OLD, OLD @ turn(12)),
    "affine": (OLD, AFFINE),
    "low rank": (
        FEW,
        FEW + FEW @ rows(40, 1, 3) @ rows(1, 40, 4) / 10 + 0.06 * rows(120, 40, 5),
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_kind_that_does_best_on_held_out_pairs_is_chosen(kind):
    old, new = CHANGES[kind]
    found = EmbeddingMap.fit(old, new)
    assert found.kind == kind
    assert found.quality.neighbours >= found.quality.neighbours_unmoved - 1e-9
    moved = found.apply(old)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(len(old)))
    if kind in ("identity", "orthogonal"):
        torch.testing.assert_close(moved, F.normalize(new, dim=1), atol=1e-4, rtol=1e-3)


def test_where_pairs_say_nothing_vectors_stay():
    """Held out, no map is better than chance, and one that is worse than none is not taken."""
    found = EmbeddingMap.fit(OLD, OLD + 3 * rows(300, 12, 6))
    assert found.quality.neighbours >= found.quality.neighbours_unmoved - 1e-9


def test_models_of_different_widths():
    found = EmbeddingMap.fit(OLD, F.normalize(OLD, dim=1) @ rows(12, 5, 7))
    assert found.apply(OLD).shape == (300, 5)
    assert found.quality.cosine > 0.99
    assert found.quality.cosine_unmoved is None


def test_an_affine_map_is_ridge_regression_of_the_change():
    old, new = (F.normalize(part.double(), dim=1) for part in (OLD, AFFINE))
    ridge = 0.01
    (_, (weight, bias)) = list(_full_rank(old, new, (ridge,)))[-1]
    centred, change = old - old.mean(0), new - old
    penalty = ridge * centred.square().sum() / 12 * torch.eye(12, dtype=torch.float64)
    learned = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ change)
    torch.testing.assert_close(weight, torch.eye(12, dtype=torch.float64) + learned.T)
    torch.testing.assert_close(weight @ old.mean(0) + bias, new.mean(0))


def test_copies_of_an_image_are_held_out_together():
    """Otherwise noise that the copies share would be learned by heart and taken for skill."""
    old, new = rows(30, 12).repeat(4, 1) + 1e-3 * rows(120, 12, 10), rows(30, 12, 9).repeat(4, 1)
    groups = torch.arange(30).repeat(4)
    apart, together = (EmbeddingMap.fit(old, new, g).quality.cosine for g in (None, groups))
    assert apart > 0.3
    assert together < 0.2


def test_few_classes_are_held_out_one_by_one():
    """A map of single classes looks better than it is where it has seen them."""
    classes = torch.arange(4).repeat_interleave(20)
    old = 3 * rows(4, 12, 30)[classes] + 0.3 * rows(80, 12, 31)
    new = old + 0.5 * rows(4, 12, 32)[classes]  # each class goes its own way
    seen, unseen = (EmbeddingMap.fit(old, new, groups).quality for groups in (None, classes))
    assert seen.cosine > unseen.cosine
    assert unseen.neighbours >= unseen.neighbours_unmoved - 1e-9


def test_copies_are_learned_from_and_not_checked():
    old, new = rows(60, 12), rows(60, 12) @ rows(12, 12, 2)
    copies, checked = rows(240, 12, 20), torch.arange(300) < 60
    pairs = torch.cat([old, copies]), torch.cat([new, copies @ rows(12, 12, 2)])
    with_copies = EmbeddingMap.fit(*pairs, checked=checked)
    assert with_copies.quality.pairs == 300
    assert with_copies.quality.cosine > EmbeddingMap.fit(old, new).quality.cosine
    nonsense = torch.cat([old, copies]), torch.cat([new, rows(240, 12, 21)])
    assert EmbeddingMap.fit(*nonsense, checked=checked).quality.cosine < 0.9


def test_it_is_the_same_for_any_order_of_pairs_within_their_folds_and_length_of_vectors():
    new = AFFINE
    found = EmbeddingMap.fit(OLD, new)
    scaled = EmbeddingMap.fit(OLD * torch.rand(300, 1) * 5, new * 7)
    torch.testing.assert_close(found.weight, scaled.weight, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "length"), [(torch.float32, 1e25), (torch.float64, 1e40)])
def test_the_length_of_vectors_does_not_matter(dtype, length):
    found = EmbeddingMap.fit(OLD, AFFINE)
    torch.testing.assert_close(found.apply(OLD.to(dtype) * length).float(), found.apply(OLD))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_many_vectors_of_any_type(dtype):
    found = EmbeddingMap.fit(OLD, AFFINE)
    many = rows(ROWS_AT_ONCE + 5, 12, 11).to(dtype)
    moved = found.apply(many)
    assert moved.dtype == dtype
    tail = found.apply(many[-3:])
    torch.testing.assert_close(moved[-3:], tail)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_is_moved_part_by_part(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 70)
    found = EmbeddingMap.fit(OLD, AFFINE)
    np.save(tmp_path / "old.npy", OLD.numpy().astype(dtype))
    found.apply_to_file(tmp_path / "old.npy", tmp_path / "new.npy")
    moved = np.load(tmp_path / "new.npy")
    assert moved.dtype == dtype
    expected = found.apply(torch.from_numpy(OLD.numpy().astype(dtype)))
    np.testing.assert_allclose(moved, expected.numpy(), atol=1e-3)
    with pytest.raises(ValueError, match=r"new\.npy exists"):
        found.apply_to_file(tmp_path / "old.npy", tmp_path / "new.npy")
    rows = OLD.numpy().copy()
    rows[200] = np.nan
    np.save(tmp_path / "nan.npy", rows)
    with pytest.raises(ValueError, match="is not finite"):
        found.apply_to_file(tmp_path / "nan.npy", tmp_path / "nothing.npy")
    assert not list(tmp_path.glob("*nothing*"))
    np.save(tmp_path / "flat.npy", np.ones(3))
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "several.npz", x=rows)
    for name in ("flat.npy", "none.npy", "empty.npy", "several.npz"):
        with pytest.raises(ValueError, match=name):
            found.apply_to_file(tmp_path / name, tmp_path / "nothing.npy")


@pytest.mark.parametrize("kind", ["list", "fixed"])
def test_a_parquet_file_keeps_its_other_columns(tmp_path, monkeypatch, kind):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 70)
    found = EmbeddingMap.fit(OLD, AFFINE)
    width = None if kind == "list" else OLD.shape[1]
    vectors = arrow.array(list(OLD.numpy()), arrow.list_(arrow.float32(), width or -1))
    prices = list(range(len(OLD)))
    columns = {"price": prices, "emb": vectors, "title": list(map(str, prices))}
    parquet.write_table(arrow.table(columns), tmp_path / "old.parquet")
    found.apply_to_file(tmp_path / "old.parquet", tmp_path / "new.parquet", column="emb")
    moved = parquet.read_table(tmp_path / "new.parquet")
    assert moved.column_names == ["price", "emb", "title"]
    assert moved["price"].to_pylist() == prices
    assert moved["title"].to_pylist() == columns["title"]
    np.testing.assert_array_equal(np.stack(moved["emb"].to_numpy()), found.apply(OLD).numpy())
    with pytest.raises(ValueError, match="no column 'vector'; there are: price, emb, title"):
        found.apply_to_file(tmp_path / "old.parquet", tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"none\.parquet does not exist"):
        found.apply_to_file(tmp_path / "none.parquet", tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="must end as"):
        found.apply_to_file(tmp_path / "old.parquet", tmp_path / "other.npy")
    parquet.write_table(arrow.table({"vector": vectors.slice(0, 0)}), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match="it has no rows"):
        found.apply_to_file(tmp_path / "empty.parquet", tmp_path / "other.parquet")
    assert not list(tmp_path.glob("*other*"))


def test_what_is_saved_is_read_again(tmp_path):
    known = {"weights": "a", "weights_sha256": "0" * 64}
    found = EmbeddingMap.fit(OLD, AFFINE)
    saved = EmbeddingMap(found.weight, found.bias, found.kind, found.quality, known, None)
    saved.save(tmp_path / "map.safetensors")
    read = EmbeddingMap.load(tmp_path / "map.safetensors")
    assert (read.kind, read.quality, read.old, read.new) == (saved.kind, saved.quality, known, None)
    assert torch.equal(read.apply(OLD), saved.apply(OLD))


def test_what_is_no_map_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="fit the map again"):
        EmbeddingMap.load(tmp_path / "none")
    write_tensor_file(tmp_path / "other", {"x": torch.ones(2)}, {"kind": "other"})
    with pytest.raises(ValueError, match="other is not a map: write one with"):
        EmbeddingMap.load(tmp_path / "other")
    content = bytearray((tmp_path / "other").read_bytes())
    content[-1] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(DamagedFileError, match="fit the map again"):
        EmbeddingMap.load(tmp_path / "damaged")


def test_pairs_and_vectors_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shapes \(N, d\), got \(300, 12\) and \(299, 12\)"):
        EmbeddingMap.fit(OLD, OLD[1:])
    with pytest.raises(ValueError, match="the new model's embeddings are not all finite"):
        EmbeddingMap.fit(OLD, OLD.clone().fill_(np.nan))
    with pytest.raises(ValueError, match="at least 3 in each; the parts have 2, 2, 2, 2, 2"):
        EmbeddingMap.fit(OLD[:10], OLD[:10] @ turn(12))
    with pytest.raises(ValueError, match="embeddings are all the same: it has collapsed"):
        EmbeddingMap.fit(OLD, torch.ones(300, 12))
    with pytest.raises(ValueError, match="300 pairs have 12 groups"):
        EmbeddingMap.fit(OLD, OLD, torch.arange(12))
    with pytest.raises(ValueError, match=r"at least 3 classes or images, .* got 2"):
        EmbeddingMap.fit(OLD[:12], OLD[:12], torch.arange(2).repeat(6))
    found = EmbeddingMap.fit(OLD, OLD)
    with pytest.raises(ValueError, match=r"takes vectors of width 12, got \(4, 3\)"):
        found.apply(torch.ones(4, 3))
    with pytest.raises(ValueError, match="is not finite"):
        found.apply(torch.full((2, 12), np.inf))


def test_neighbours_kept_by_a_naive_loop():
    moved, new = F.normalize(rows(60, 6, 12), dim=1), F.normalize(rows(60, 6, 13), dim=1)
    shares = []
    for i in range(60):
        others = [j for j in range(60) if j != i]
        near = [
            set(sorted(others, key=lambda j: -float(new[i] @ gallery[j]))[:10])
            for gallery in (new, moved)
        ]
        shares.append(len(near[0] & near[1]) / 10)
    assert neighbours_kept(moved, new) == pytest.approx(np.mean(shares))
