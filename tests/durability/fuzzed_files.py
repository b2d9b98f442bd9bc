"""Every kind of file that is read, and attempts to read it once it is damaged.

Each function writes a whole file into a folder and gives an attempt: it damages the file, reads
it, and asserts that what comes back is right where the file has a checksum. Errors are let through.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import (
    changed_arrays,
    changed_header,
    changed_tensors,
    changed_values,
    damaged,
    mutated,
)
from PIL import Image
from safetensors.torch import save_file

from pml_incremental.config import ExperimentConfig, dump_yaml, load_config, parse_yaml, validate
from pml_incremental.datasets import CsvImages, NpzImages
from pml_incremental.experiment import EmbeddingModel
from pml_incremental.experiment.export import export_model
from pml_incremental.experiment.trained_weights import TrainedWeights
from pml_incremental.gallery import EmbeddingMap, Gallery, export_gallery, import_gallery
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.models import load_weights
from pml_incremental.storage import (
    pack_state,
    read_checked_json,
    read_tensor_file,
    unpack_state,
    write_checked_json,
    write_tensor_file,
)
from pml_incremental.storage.whole_file import sha256

CONFIGS = Path(__file__).parents[2] / "configs"
Attempt = Callable[[random.Random], Any]

VECTORS = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
IDS = tuple(f"item {i}" for i in range(12))
LABELS = tuple("abc"[i % 3] for i in range(12))
RECIPE = {
    "models": {
        "trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}},
        "embedder": {"MLP": {"layer_sizes": [8]}},
    },
    "transforms": {"eval": [{"Resize": {"size": [20, 20]}}]},
}


def same(first: Any, second: Any) -> bool:
    """Whether nested values, tensors among them, are equal."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return bool(first == second)


def configs(folder: Path) -> Attempt:
    texts = [(CONFIGS / f"{name}.yaml").read_text() for name in ("glyphs", "folder", "emoji_pair")]
    path = folder / "config.yaml"

    def attempt(draw: random.Random) -> None:
        text = draw.choice(texts)
        if draw.random() < 0.5:
            path.write_text(mutated(text, draw), encoding="utf-8")
        else:
            path.write_text(dump_yaml(changed_values(parse_yaml(text), draw)), encoding="utf-8")
        config = load_config([path])
        validate(config)
        assert ExperimentConfig.model_validate(config.to_yaml_dict()) == config

    return attempt


def _plain_model() -> EmbeddingModel:
    return EmbeddingModel(RECIPE).eval()


def weights_of_others(folder: Path) -> Attempt:
    network = _plain_model().trunk
    whole, pickled = folder / "whole.safetensors", folder / "whole.pth"
    save_file(network.state_dict(), whole)
    torch.save({"model_state_dict": network.state_dict(), "epoch": 3}, pickled)
    contents = whole.read_bytes(), pickled.read_bytes()

    def attempt(draw: random.Random) -> None:
        path = folder / draw.choice(("weights.safetensors", "weights.pth"))
        content = contents[path.suffix == ".pth"]
        is_header = path.suffix == ".safetensors" and draw.random() < 0.5
        path.write_bytes((changed_header if is_header else damaged)(content, draw))
        load_weights(network, path, keep_head=True)

    return attempt


def checkpoints(folder: Path) -> Attempt:
    weight = torch.nn.Parameter(torch.randn(16, 8))
    optimizer = torch.optim.Adam([weight])
    weight.square().sum().backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "epoch": 3, "random": torch.get_rng_state()}
    path = folder / "checkpoint.safetensors"
    plain, tensors = pack_state(state)
    write_tensor_file(path, tensors, plain)
    whole = path.read_bytes()

    def attempt(draw: random.Random) -> None:
        path.write_bytes((changed_header if draw.random() < 0.2 else damaged)(whole, draw))
        found = read_tensor_file(path, "start again")
        assert same(unpack_state(found.state, found.tensors), state)

    return attempt


def evaluations(folder: Path) -> Attempt:
    path = folder / "evaluation.json"
    values = {"own/recall_at_1": {"task_1": 1 / 3, "task_2": None}, "joint/recall_at_1": {}}
    write_checked_json(path, values)
    whole = path.read_bytes()

    def attempt(draw: random.Random) -> None:
        path.write_bytes(damaged(whole, draw))
        assert read_checked_json(path, "start again") == values

    return attempt


def model_folders(folder: Path) -> Attempt:
    place = folder / "shop"
    plain, file = _plain_model(), folder / "plain.safetensors"
    save_file(plain.state_dict(), file)
    export_model(TrainedWeights.read(file, RECIPE), place)
    weights = place / "model.safetensors"
    whole, settings = weights.read_bytes(), (place / "config.json").read_text()
    tensors, state = read_tensor_file(weights, "")
    expected = EmbeddingModel.load(place).state_dict()

    def attempt(draw: random.Random) -> None:
        change = draw.randrange(3)
        if change == 0:
            weights.write_bytes((changed_header if draw.random() < 0.2 else damaged)(whole, draw))
        elif change == 1:  # written anew by a stranger, with the right checksum
            weights.unlink()
            write_tensor_file(weights, tensors, changed_values(state, draw))
        if change < 2:
            found = EmbeddingModel.load(place)
            assert change == 1 or same(dict(found.state_dict()), dict(expected))
            return
        arguments = changed_values(json.loads(settings), draw)
        if isinstance(arguments, dict) and arguments.keys() <= json.loads(settings).keys():
            EmbeddingModel(**{"recipe": {}, **arguments})

    return attempt


def _gallery(root: Path | None) -> Gallery:
    ids = IDS if root is None else tuple(f"{label}/{i}.png" for i, label in enumerate(LABELS))
    return Gallery(VECTORS, ImageFiles(root, ids, LABELS), {"name": "clip-v1"}, None, ("made",))


def galleries(folder: Path) -> Attempt:
    place = folder / "shop.gallery"
    _gallery(folder).save(place)
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    manifest = json.loads(whole["manifest.json"])

    def attempt(draw: random.Random) -> None:
        for name, content in whole.items():
            (place / name).write_bytes(content)
        name = draw.choice(list(whole))
        if draw.random() < 0.5:
            (place / name).write_bytes(damaged(whole[name], draw))
            found = Gallery.load(place)
            assert name == "manifest.json" or torch.equal(found.vectors, VECTORS)
            return
        if name == "vectors.safetensors":
            (place / name).write_bytes(changed_header(whole[name], draw))
        else:
            (place / name).write_text(json.dumps(changed_values(json.loads(whole[name]), draw)))
        if name != "manifest.json":  # which then says that it is right
            sums = {**manifest["sha256"], name: sha256(place / name)}
            (place / "manifest.json").write_text(json.dumps({**manifest, "sha256": sums}))
        Gallery.load(place)

    return attempt


def maps(folder: Path) -> Attempt:
    path, moved = folder / "to_new.safetensors", folder / "moved.npy"
    old = torch.randn(60, 6)
    turned = old @ torch.linalg.qr(torch.randn(6, 6)).Q
    fitted = EmbeddingMap.fit(old, turned)
    fitted.save(path)
    whole = path.read_bytes()
    tensors, state = read_tensor_file(path, "")
    vectors = folder / "vectors.npy"
    np.save(vectors, VECTORS.numpy())

    def attempt(draw: random.Random) -> None:
        moved.unlink(missing_ok=True)
        if draw.random() < 0.5:
            path.write_bytes((changed_header if draw.random() < 0.2 else damaged)(whole, draw))
            assert torch.equal(EmbeddingMap.load(path).weight, fitted.weight)
            return
        path.unlink()
        parts = {
            "weight": tensors["weight"],
            "bias": tensors["bias"],
        }
        if draw.random() < 0.5:
            parts = changed_tensors(parts, draw)
        write_tensor_file(path, parts, changed_values(state, draw))
        EmbeddingMap.load(path).apply_to_file(vectors, moved)

    return attempt


def npz_files(folder: Path) -> Attempt:
    path = folder / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
    arrays = {"x": pixels, "y": np.arange(12) % 3, "vendor": np.array(["a", "b"] * 6)}
    arrays["classes"] = np.array(["wren", "jay", "owl"])
    wholes = []
    for write in (np.savez, np.savez_compressed):
        write(path, **arrays)
        wholes.append(path.read_bytes())

    def attempt(draw: random.Random) -> None:
        is_checked = draw.random() < 0.6
        if is_checked:
            path.write_bytes(damaged(draw.choice(wholes), draw))
        else:
            np.savez(path, **changed_arrays(arrays, draw))
        found = NpzImages(path, test_values=["b"])
        assert found.classes is None or found.classes[found.labels.max()]
        if is_checked:
            assert np.array_equal([np.asarray(image) for image, _ in found], pixels)
            assert np.array_equal(found.labels, arrays["y"])

    return attempt


def csv_files(folder: Path) -> Attempt:
    lines = ["path,label,split"]
    for number in range(8):
        Image.new("RGB", (4, 4)).save(folder / f"{number}.png")
        lines.append(f'{number}.png,"wren, {number % 2}",{("train", "test")[number // 4]}')
    path, whole = folder / "images.csv", "\n".join(lines)

    def attempt(draw: random.Random) -> None:
        if draw.random() < 0.5:
            path.write_text(mutated(whole, draw), encoding="utf-8")
        else:
            path.write_bytes(damaged(whole.encode(), draw))
        found = CsvImages(path, progress=False)
        assert len(found) == len(found.labels) > 0

    return attempt


def vector_files(folder: Path) -> Attempt:
    """NumPy's and safetensors' kinds of :func:`import_gallery`."""
    wholes = {}
    for suffix in (".npy", ".npz", ".safetensors"):
        path = folder / f"whole{suffix}"
        export_gallery(_gallery(None), path)
        wholes[suffix] = path.read_bytes()
    arrays = {"vectors": VECTORS.numpy(), "ids": np.array(IDS), "labels": np.array(LABELS)}

    def attempt(draw: random.Random) -> None:
        suffix = draw.choice(list(wholes))
        path = folder / f"vectors{suffix}"
        if suffix == ".npz" and draw.random() < 0.5:
            np.savez(path, **changed_arrays(arrays, draw))
        elif suffix == ".safetensors" and draw.random() < 0.5:
            path.write_bytes(changed_header(wholes[suffix], draw))
        else:
            path.write_bytes(damaged(wholes[suffix], draw))
        found = import_gallery(path, {"name": "clip-v1"})
        assert torch.isfinite(found.vectors).all()
        assert len(found.files.ids) == len(found.files.labels) == len(found.vectors)

    return attempt


def parquet_files(folder: Path) -> Attempt:
    import pyarrow
    from pyarrow import parquet

    path, moved = folder / "vectors.parquet", folder / "moved.parquet"
    export_gallery(_gallery(None), path)
    whole = path.read_bytes()
    rows = {"id": list(IDS), "label": list(LABELS), "vector": VECTORS.tolist()}
    fitted = EmbeddingMap(torch.eye(6), torch.zeros(6), "identity", None)

    def attempt(draw: random.Random) -> None:
        moved.unlink(missing_ok=True)
        is_checked = draw.random() < 0.6
        if is_checked:
            path.write_bytes(damaged(whole, draw))
        else:
            changed = changed_values(rows, draw)
            try:
                table = pyarrow.table(changed)
            except (pyarrow.ArrowException, TypeError, AttributeError, ValueError, OverflowError):
                table = pyarrow.table({"vector": pyarrow.nulls(12)})
            parquet.write_table(table, path)
        if draw.random() < 0.5:
            found = import_gallery(path, {"name": "clip-v1"})
            assert len(found.files.ids) == len(found.files.labels) == len(found.vectors)
            assert not is_checked or torch.equal(found.vectors, VECTORS)
        else:
            fitted.apply_to_file(path, moved)

    return attempt


#: How many inputs of each kind are tried.
KINDS: dict[Callable[[Path], Attempt], int] = {
    configs: 1000,
    weights_of_others: 500,
    checkpoints: 500,
    evaluations: 300,
    model_folders: 500,
    galleries: 500,
    maps: 400,
    npz_files: 400,
    csv_files: 300,
    vector_files: 300,
    parquet_files: 300,
}
