import json

import pytest
import torch
from safetensors.torch import save_file

from pml_incremental.gallery import Gallery
from pml_incremental.gallery.gallery import check_inside
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.storage.whole_file import sha256

MODEL = {"run": "runs/x", "strategy": "finetune", "task": 1, "weights_sha256": "0" * 64}


@pytest.fixture
def place(tmp_path):
    files = ImageFiles(tmp_path, ("a/1.png", "b/2.png"), ("a", "b"))
    Gallery(torch.eye(2), files, MODEL, None, ("embedded",)).save(tmp_path / "gallery")
    return tmp_path / "gallery"


def change(place, name, **values):
    """Change values of a file and let the manifest's checksums say that it is right."""
    content = json.loads((place / name).read_text())
    (place / name).write_text(json.dumps({**content, **values}))
    resign(place)


def resign(place):
    manifest = json.loads((place / "manifest.json").read_text())
    for name in manifest["sha256"]:
        if (place / name).is_file():
            manifest["sha256"][name] = sha256(place / name)
    (place / "manifest.json").write_text(json.dumps(manifest))


def test_gallery_is_as_written(place):
    assert Gallery.load(place).vectors.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/passwd", "a/../../b.png", "C:\\x.png", "a\\..\\..\\b", "", "\0"]
)
def test_paths_do_not_leave_their_folder(place, path):
    with pytest.raises(ValueError, match="leads out of its folder"):
        check_inside(path)
    change(place, "images.json", ids=["a/1.png", path])
    with pytest.raises(
        ValueError, match=r"images\.json is not in the format of a gallery: ids\.1: "
    ):
        Gallery.load(place)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sha256": {"../../x": "0" * 64}}, r"sha256\.\.\./\.\./x"),
        ({"sha256": {}}, "must have images.json, vectors.safetensors and no other"),
        ({"images": 0}, "images: "),
        ({"images": "2"}, "images: "),
        ({"model": {**MODEL, "strategy": "../../elsewhere"}}, "model.strategy: .*leads out of"),
        ({"model": {**MODEL, "weights_sha256": "x"}}, "model.weights_sha256: "),
        ({"model": {**MODEL, "weights": "x.safetensors"}}, "model.run: "),
        ({"model": {"weights": "x.safetensors"}}, "model.weights_sha256: "),
        ({"model": 3}, "model: "),
        ({"history": "none"}, "history: "),
        ({"more": 1}, "more: "),
    ],
)
def test_manifest_says_what_it_may(place, values, said):
    content = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**content, **values}))
    with pytest.raises(
        ValueError, match=rf"manifest\.json is not in the format of a gallery.*{said}"
    ):
        Gallery.load(place)


@pytest.mark.parametrize(
    "vectors", [torch.eye(3), torch.eye(2).double(), torch.eye(2).half(), torch.eye(2)[0]]
)
def test_vectors_are_of_the_size_and_kind_that_the_manifest_says(place, vectors):
    save_file({"vectors": vectors.contiguous()}, place / "vectors.safetensors")
    resign(place)
    with pytest.raises(ValueError, match=r"must hold float32 vectors of shape \(2, 2\), got"):
        Gallery.load(place)


def test_vectors_are_finite(place):
    save_file({"vectors": torch.full((2, 2), torch.nan)}, place / "vectors.safetensors")
    resign(place)
    with pytest.raises(ValueError, match="2 images need as many finite vectors"):
        Gallery.load(place)


def test_labels_are_as_many_as_images(place):
    change(place, "images.json", labels=["a"])
    with pytest.raises(ValueError, match="2 ids have 1 labels"):
        Gallery.load(place)
