import errno
import json
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pml_incremental.cli.commands import app
from pml_incremental.config import ConfigError
from pml_incremental.experiment import run
from pml_incremental.gallery import (
    EmbeddingMap,
    Gallery,
    ModelVersion,
    WeightsModel,
    build_gallery,
    learn_map,
    measure_update,
    search_gallery,
    update_gallery,
)
from pml_incremental.gallery import gallery as module
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.search import write_result_page
from pml_incremental.storage import StorageError, read_tensor_file, write_tensor_file


@pytest.fixture(scope="module")
def draw(draw_classes):
    return partial(draw_classes, images=6, size=12)


@pytest.fixture(scope="module")
def world(draw, tiny_config, module_without_pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    config = tiny_config(
        root,
        name="shop",
        dataset={"ImageFolder": {"root": str(draw(root / "data", "abcdefgh", images=10))}},
        scenario={"ClassIncrementalScenario": {"classes_per_task": [4, 4]}},
        models={
            "trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
        },
        trainer={"IncrementalMetricLoss": {"batch_size": 16, "iterations_per_epoch": 5}},
        num_epochs=1,
        strategies=["finetune"],
    )
    run(config, progress=False)
    draw(root / "gallery", "abcd", seed=1)
    draw(root / "queries", "abcz", seed=2, images=3)
    draw(root / "new", "efgh", seed=3)
    return root


def version(world, task):
    return ModelVersion(world / "shop", "finetune", task)


@pytest.fixture(scope="module")
def built(world):
    gallery = build_gallery(world / "gallery", version(world, 1))
    gallery.save(world / "shop.gallery")
    return gallery


def test_a_gallery_comes_back_as_it_was_saved(world, built):
    again = Gallery.load(world / "shop.gallery")
    assert torch.equal(again.vectors, built.vectors)
    assert (again.files, again.model, again.history) == (built.files, built.model, built.history)
    assert again.files.labels == tuple(name for name in "abcd" for _ in range(6))
    assert again.vectors.norm(dim=1).sub(1).abs().max() < 1e-5
    manifest = json.loads((world / "shop.gallery/manifest.json").read_text())
    assert (manifest["images"], manifest["width"], manifest["model"]["task"]) == (24, 8, 1)


def test_search_finds_what_naive_distances_find(world, built):
    queries = ImageFiles.under(world / "queries")
    vectors = version(world, 1).embed(queries)
    found = search_gallery(built, queries, vectors, k=4)
    distances = torch.cdist(
        vectors.double(), built.vectors.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert torch.equal(found.rows, distances.argsort(dim=1, stable=True)[:, :4])
    torch.testing.assert_close(found.distances, distances.gather(1, found.rows))
    right = [
        built.files.labels[row] == label
        for row, label in zip(found.rows[:, 0].tolist(), queries.labels, strict=True)
        if label != "z"
    ]
    assert found.recall_at_1 == np.mean(right)
    assert found.unanswerable == 3
    assert search_gallery(built, queries, vectors, k=999).rows.shape[1] == 24
    with pytest.raises(ValueError, match="have width 3 but the gallery's 8"):
        search_gallery(built, queries, torch.ones(12, 3))


def test_a_gallery_with_an_index_finds_the_same(world, built):
    pytest.importorskip("faiss")
    indexed = build_gallery(world / "gallery", version(world, 1), index="Flat")
    indexed.save(world / "indexed.gallery")
    queries = ImageFiles.under(world / "queries")
    vectors = version(world, 1).embed(queries)
    index = Gallery.read_index(world / "indexed.gallery")
    by_index = search_gallery(indexed, queries, vectors, 3, index)
    assert by_index.recall_at_1 == search_gallery(built, queries, vectors, 3).recall_at_1


def test_an_update_moves_vectors_and_is_measured(world, built):
    files = ImageFiles.under(world / "new")
    old, new = version(world, 1), version(world, 2)
    moved = update_gallery(built, learn_map(old, new, files))
    truth = new.embed(built.files)
    assert not torch.equal(moved.vectors, built.vectors)
    assert moved.model["task"] == 2
    assert "of 96 pairs" in moved.history[-1]  # each image upright and turned three times
    queries = ImageFiles.under(world / "queries")
    report = measure_update(built, moved, queries, old.embed(queries), new.embed(queries), truth)
    assert report.before == search_gallery(built, queries, old.embed(queries)).recall_at_1
    assert report.updated == search_gallery(moved, queries, new.embed(queries)).recall_at_1
    assert 0 <= report.not_updated <= 1
    assert 0 <= report.reembedded <= 1
    change = report.change
    assert change.mean == pytest.approx(report.updated - report.before)
    assert change.low <= change.mean <= change.high
    with pytest.raises(ValueError, match=r"may have been moved already \(embedded by .*; moved to"):
        update_gallery(moved, learn_map(old, new, files))


def test_a_linear_change_of_space_is_undone_exactly(built):
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    points = torch.randn(200, 8)
    found = EmbeddingMap.fit(points, points @ turn)
    with pytest.raises(ValueError, match="the map does not name its new model"):
        update_gallery(built, found)
    with pytest.raises(ValueError, match="already come from the new model"):
        update_gallery(built, found, built.model)
    other = {**built.model, "task": 2, "weights_sha256": "0" * 64}
    moved = update_gallery(built, found, other)
    torch.testing.assert_close(moved.vectors, built.vectors @ turn, atol=1e-4, rtol=1e-3)


def test_the_page_of_a_search(world, built, tmp_path):
    queries = ImageFiles.under(world / "queries")
    result = search_gallery(built, queries, version(world, 1).embed(queries), k=3)
    write_result_page(tmp_path / "page.html", built, result)
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/png") == 12 * 4
    assert "http" not in text
    assert "without 3 queries whose class is not in the gallery" in text


def test_what_cannot_be_written_is_said_and_leaves_nothing(built, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/g: File exists"):
        built.save(tmp_path / "file/g")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "sync", full)
    with pytest.raises(StorageError, match=r"cannot write .*g: No space .* the disk is full"):
        built.save(tmp_path / "g")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_gallery_whose_writer_is_killed_is_whole_or_not_there(tmp_path):
    ids = tuple(map(str, range(100_000)))
    big = Gallery(torch.zeros(len(ids), 2), ImageFiles(None, ids, ids), {"name": "clip-v1"})
    killed = 0
    for pause in torch.rand(10, generator=torch.Generator().manual_seed(0)) * 0.6:
        child = os.fork()
        if child == 0:
            big.save(tmp_path / "g")
            os._exit(0)
        time.sleep(float(pause))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if (tmp_path / "g").exists():
            assert len(Gallery.load(tmp_path / "g").vectors) == len(ids)
            shutil.rmtree(tmp_path / "g")
    assert killed
    big.save(tmp_path / "g")
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def test_damage_is_noticed(world, built, tmp_path):
    place = tmp_path / "g"
    built.save(place)
    with pytest.raises(ValueError, match="exists: choose another place"):
        built.save(place)
    (place / "images.json").write_text("{}")
    with pytest.raises(ValueError, match=r"images\.json is not what the manifest says"):
        Gallery.load(place)
    (place / "images.json").unlink()
    with pytest.raises(ValueError, match=r"images\.json is missing"):
        Gallery.load(place)
    (place / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="has format 99, and this version reads 1"):
        Gallery.load(place)
    with pytest.raises(ValueError, match="is not a gallery"):
        Gallery.load(tmp_path)


def test_a_weights_file_is_the_model_that_it_was_written_of(built, world, tmp_path):
    file = world / "shop/task_1/model.safetensors"
    model = WeightsModel(file)
    files = ImageFiles.under(world / "gallery")
    assert torch.equal(model.embed(files), version(world, 1).embed(files))
    build_gallery(world / "gallery", model).save(tmp_path / "g")
    again = Gallery.load(tmp_path / "g")
    assert torch.equal(again.vectors, built.vectors)
    assert again.history == ("embedded by model.safetensors",)
    assert ModelVersion.described(again.model) == model
    with pytest.raises(ValueError, match=r"weights of model\.safetensors are not those that"):
        ModelVersion.described({**again.model, "weights_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"gone\.safetensors is missing: the gallery's model is"):
        ModelVersion.described({**again.model, "weights": str(tmp_path / "gone.safetensors")})
    stored = read_tensor_file(file, "")
    stored.state["recipe"]["models"]["embedder"] = {"antigravity:Mine": {}}
    write_tensor_file(tmp_path / "own.safetensors", stored.tensors, stored.state)
    with pytest.raises(
        ConfigError, match=r"antigravity:Mine, .*: write --allow-imports antigravity"
    ):
        WeightsModel(tmp_path / "own.safetensors").embed(files)
    torch.save(load_file(file), tmp_path / "old.pth")
    with pytest.raises(ConfigError, match=r"old\.pth does not describe its model"):
        WeightsModel(tmp_path / "old.pth").embed(files)


def test_other_weights_than_the_gallerys_are_refused(built, world):
    description = {**built.model, "weights_sha256": "0"}
    with pytest.raises(ValueError, match="are not those that the gallery was built with"):
        ModelVersion.described(description)
    assert ModelVersion.described(built.model) == version(world, 1)


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no images"):
        ImageFiles.under(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        ImageFiles.under(tmp_path / "none")


def test_bad_images_are_named_or_left_out(draw, tmp_path, caplog):
    folder = draw(tmp_path / "some", "ab", images=2)
    (folder / "a/0.png").write_text("no image")
    with pytest.raises(ValueError, match=r"cannot be read: 1; .*--skip-bad-images(.|\n)*a/0\.png"):
        ImageFiles.under(folder)
    assert ImageFiles.under(folder, "skip").ids == ("a/1.png", "b/0.png", "b/1.png")
    assert "images left out: 1" in caplog.text
    for path in folder.rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(ValueError, match=r"no image in .*some can be read"):
        ImageFiles.under(folder, "skip")


@pytest.fixture
def invoke():
    """Call a command of the gallery."""

    def call(*arguments):
        return CliRunner().invoke(app, ["gallery", *map(str, arguments)])

    return call


def test_mistakes_are_found_before_anything_is_embedded(
    world, built, tmp_path, monkeypatch, invoke
):
    def embed(*_):
        raise AssertionError("images were embedded")

    monkeypatch.setattr(ModelVersion, "embed", embed)
    shop = world / "shop.gallery"
    model = ("--run", world / "shop", "--strategy", "finetune", "--task", 2)
    move = ("update", shop, tmp_path / "new.gallery", *model, "--images", world / "new")
    (tmp_path / "none").mkdir()
    mistakes = {
        f"{shop} exists: choose another": ("build", world / "gallery", shop, *model),
        "shop.gallery exists: choose": ("update", shop, shop, *model, "--images", world / "new"),
        "has no images": (*move, "--queries", tmp_path / "none"),
    }
    for message, arguments in mistakes.items():
        done = invoke(*arguments)
        assert (done.exit_code, message in done.output) == (1, True), done.output
    mistakes = {
        "give --images to learn a map from, or --map": (*move, "--map", tmp_path / "m"),
        "give --old, --new and --images, or --pairs": ("fit-map", tmp_path / "m", "--old", shop),
    }
    for message, arguments in mistakes.items():
        done = invoke(*arguments)
        assert (done.exit_code, message in done.output) == (2, True), done.output
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    done = invoke("build", world / "gallery", tmp_path / "g", *model, "--index", "Flat")
    assert (done.exit_code, "an index needs faiss" in done.output) == (2, True)


def test_commands_from_build_to_update(world, tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    images = Path(shutil.copytree(world / "gallery", tmp_path / "images"))
    model = ("--run", world / "shop", "--strategy", "finetune", "--task")
    done = invoke("build", images, "shop.gallery", *model, 1)
    assert done.exit_code == 0, done.output
    assert "embedding: 100%" in done.output
    done = invoke("search", "shop.gallery", world / "queries", "-k", 2)
    assert done.exit_code == 0, done.output
    assert "embedding: 100%" in done.output
    counted = " % of 9 queries, without 3 queries whose class is not in the gallery"
    assert counted in done.output
    assert counted in (tmp_path / "search.html").read_text()
    one = next((world / "new").rglob("*.png"))
    done = invoke("search", "shop.gallery", one, "-o", "one.html")
    assert "Recall@1 not measured" in done.output
    assert "thumb right" not in (tmp_path / "one.html").read_text()
    assert "thumb wrong" not in (tmp_path / "one.html").read_text()
    done = invoke("search", "shop.gallery", world / "new", "-o", "none.html")
    none = "Recall@1 not measured: 24 queries, of no class that is in the gallery"
    assert none in done.output
    assert none in (tmp_path / "none.html").read_text()
    assert (tmp_path / "search.html").is_file()
    more = ("--images", world / "new", "--queries", world / "queries")
    done = invoke("update", "shop.gallery", "shop2.gallery", *model, 2, *more)
    assert done.exit_code == 0, done.output
    assert "not measured" not in done.output
    assert done.output.count("embedding: 100%") == 11
    assert "on held-out pairs: cosine to the new model's" in done.output
    assert "queries in the moved gallery: " in done.output  # the verdict
    for command in (
        ("build", images, "quiet.gallery", *model, 1),
        ("search", "shop.gallery", world / "queries"),
        ("update", "shop.gallery", "quiet2.gallery", *model, 2, *more),
    ):
        done = invoke(*command, "--quiet")
        assert (done.exit_code, "embedding" in done.output) == (0, False), done.output
    shutil.rmtree(images)
    done = invoke("update", "shop.gallery", "shop3.gallery", *model, 2, *more)
    assert "not measured" in done.output
    assert "the gallery is not embedded again, because images are missing: 24" in done.output
    moved = [Gallery.load(Path(name)).vectors for name in ("shop2.gallery", "shop3.gallery")]
    assert torch.equal(*moved)
    weights = world / "shop/finetune/task_2/model.safetensors"
    fit = ("--old", "shop.gallery", "--new", weights, "--images", world / "new")
    done = invoke("fit-map", "map.safetensors", *fit)
    assert done.exit_code == 0, done.output
    done = invoke("update", "shop.gallery", "shop4.gallery", "--map", "map.safetensors")
    assert done.exit_code == 0, done.output
    assert torch.equal(Gallery.load(Path("shop4.gallery")).vectors, moved[0])
    done = invoke("update", "shop4.gallery", "shop5.gallery", "--map", "map.safetensors")
    assert "may have been moved already" in done.output
    missing = invoke("search", "nothing", world / "queries")
    assert missing.exit_code == 2
    assert "GALLERY: nothing is not a folder" in missing.output
