"""What tests of several packages share: trees of published datasets, folders of drawn classes."""

import functools
import hashlib
import json
import pickle

import numpy as np
import pytest
from PIL import Image

N_CLASSES, N_TRAIN, N_TEST = 4, 4, 2  # images of each class
SIZE = 24


def draw(path, label, number):
    """An image that says its class by its red and itself by its green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([label, number]).integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
    pixels[..., 0] += np.uint8(40 * label)
    Image.fromarray(pixels).save(path)


def numbered():
    """Class, number and side of each image; classes and sides are mixed."""
    for number in range(N_TRAIN + N_TEST):
        for label in range(N_CLASSES):
            yield label, number, number % 3 == 2


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def cub(root, _):
    base = root / "CUB_200_2011"
    birds = [f"{label + 1:03}.Bird_{label}" for label in range(N_CLASSES)]
    images = [
        (f"{birds[k]}/Bird_{k}_{n:04}.jpg", k, n, is_test) for k, n, is_test in sorted(numbered())
    ]
    for name, label, number, _ in images:
        draw(base / "images" / name, label, number)
    grey = base / "images" / images[0][0]
    Image.open(grey).convert("L").save(grey)  # as some of the originals are
    rows = list(enumerate(images, start=1))
    write_lines(base / "classes.txt", [f"{k + 1} {bird}" for k, bird in enumerate(birds)])
    write_lines(base / "images.txt", [f"{i} {image[0]}" for i, image in rows])
    write_lines(base / "image_class_labels.txt", [f"{i} {image[1] + 1}" for i, image in rows])
    write_lines(base / "train_test_split.txt", [f"{i} {int(not image[3])}" for i, image in rows])


def cars196(root, _):
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    names += [f"Ram C/V Cargo Van Minivan {2010 + label}" for label in range(2, N_CLASSES)]
    rows = {"train": [], "test": []}
    for label, number, is_test in numbered():
        side = "test" if is_test else "train"
        file = f"{len(rows[side]) + 1:05}.jpg"
        folder = root / "car_data" / "car_data" / side / names[label].replace("/", "-")
        draw(folder / file, label, number)
        rows[side].append(f"{file},39,116,569,375,{label + 1}")
    write_lines(root / "names.csv", names)
    for side, lines in rows.items():
        write_lines(root / f"anno_{side}.csv", lines)


def stanford_online_products(root, _):
    base = root / "Stanford_Online_Products"
    rows = []
    for label, number, _ in sorted(numbered()):
        kind = label % 2
        path = f"{['bicycle', 'sofa'][kind]}_final/{111085122871 + label}_{number}.JPG"
        draw(base / path, label, number)
        rows.append((label, f"{len(rows) + 1} {label + 1} {kind + 1} {path}"))
    header = "image_id class_id super_class_id path"
    half = N_CLASSES // 2
    write_lines(base / "Ebay_train.txt", [header, *(row for k, row in rows if k < half)])
    write_lines(base / "Ebay_test.txt", [header, *(row for k, row in rows if k >= half)])


def inaturalist2018(root, _):
    sides = {"train": ([], []), "val": ([], [])}
    splits = {"train": [], "test": []}
    for key, (label, number, is_test) in enumerate(numbered()):
        category = 2761 + label
        path = f"train_val2018/{['Aves', 'Fungi'][label % 2]}/{category}/{key:032x}.jpg"
        draw(root / path, label, number)
        images, annotations = sides["val" if is_test else "train"]
        images.append({"id": key, "file_name": path})
        annotations.append({"id": key, "image_id": key, "category_id": category})
        splits["train" if label < N_CLASSES // 2 else "test"].append(path)
    for side, (images, annotations) in sides.items():
        content = {"images": images, "annotations": annotations}
        write_lines(root / f"{side}2018.json", [json.dumps(content)])
    for side, lines in splits.items():
        write_lines(root / "Inat_dataset_splits" / f"Inaturalist_{side}_set1.txt", lines)


def stanford_dogs(root, _):
    from scipy.io import savemat

    breeds = [f"n0208562{label}-Breed_{label}" for label in range(N_CLASSES)]
    lists = {"train": [], "test": []}
    for label, number, is_test in sorted(numbered()):
        name = f"{breeds[label]}/n0208562{label}_{number}.jpg"
        draw(root / "Images" / name, label, number)
        lists["test" if is_test else "train"].append((name, label + 1))
    lists["file"] = lists["train"] + lists["test"]
    for side, rows in lists.items():
        names, labels = zip(*rows, strict=True)
        column = np.array(names, dtype=object).reshape(-1, 1)
        content = {"file_list": column, "annotation_list": column, "labels": [[k] for k in labels]}
        savemat(root / f"{side}_list.mat", content)


def flowers102(root, patch):
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    base = root / "flowers-102"
    labels, sides = [], {"trnid": [], "valid": [], "tstid": []}
    for key, (label, number, is_test) in enumerate(numbered(), start=1):
        draw(base / "jpg" / f"image_{key:05}.jpg", label, number)
        labels.append(label + 1)
        sides["tstid" if is_test else ["trnid", "valid"][number % 2]].append(key)
    savemat(base / "imagelabels.mat", {"labels": [labels]})
    savemat(base / "setid.mat", sides)
    names = {"label": "imagelabels.mat", "setid": "setid.mat"}
    sums = {key: (name, md5(base / name)) for key, name in names.items()}
    patch.setattr(Flowers102, "_file_dict", {**Flowers102._file_dict, **sums})


def oxford_iiit_pet(root, _):
    base = root / "oxford-iiit-pet"
    names = ["Abyssinian", "american_bulldog", "Bengal", "pug"]
    lines = {"trainval": [], "test": []}
    for label, number, is_test in numbered():
        image = f"{names[label]}_{number}"
        draw(base / "images" / f"{image}.jpg", label, number)
        lines["test" if is_test else "trainval"].append(f"{image} {label + 1} {label % 2 + 1} 1")
    for side, rows in lines.items():
        write_lines(base / "annotations" / f"{side}.txt", rows)


def cifar100(root, patch):
    from torchvision.datasets import CIFAR100

    base = root / "cifar-100-python"
    base.mkdir(parents=True)
    for side in ("train", "test"):
        labels = [label for label, _, is_test in numbered() if is_test == (side == "test")]
        rows = [np.full(3 * 32 * 32, 40 * label, dtype=np.uint8) for label in labels]
        content = {"data": np.stack(rows), "fine_labels": labels}
        (base / side).write_bytes(pickle.dumps(content))
        patch.setattr(CIFAR100, f"{side}_list", [[side, md5(base / side)]])
    names = ["apple", "aquarium_fish", "baby", "bear"]
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    patch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(base / "meta")})


def omniglot(root, patch):
    from torchvision.datasets import Omniglot

    base = root / "omniglot-py"
    alphabets = {"images_background": "Greek", "images_evaluation": "Glagolitic"}
    for label, number, _ in numbered():
        side, alphabet = list(alphabets.items())[label % 2]
        character = f"character{label // 2 + 1:02}"
        file = base / side / alphabet / character / f"{label + 1:04}_{number + 1:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (105, 105), label % 2).save(file)
    for side in alphabets:
        (base / f"{side}.zip").write_bytes(side.encode())
    sums = {side: md5(base / f"{side}.zip") for side in alphabets}
    patch.setattr(Omniglot, "zips_md5", sums)


TREES = {
    "CUB": cub,
    "Cars196": cars196,
    "StanfordOnlineProducts": stanford_online_products,
    "INaturalist2018": inaturalist2018,
    "StanfordDogs": stanford_dogs,
    "Flowers102": flowers102,
    "OxfordIIITPet": oxford_iiit_pet,
    "CIFAR100": cifar100,
    "Omniglot": omniglot,
}


@pytest.fixture
def make_tree(tmp_path, monkeypatch):
    """Write the tree of a dataset, 4 classes of 4 training and 2 test images, and give its root."""

    def make(name):
        root = tmp_path / name
        root.mkdir()
        TREES[name](root, monkeypatch)
        return root

    return make


@pytest.fixture(scope="session")
def draw_classes():
    """Write a folder of classes, each a colour with noise."""

    def write(root, names, images=8, seed=0, size=20):
        generator = np.random.default_rng(seed)
        for name in names:
            colour = np.random.default_rng(list(name.encode())).integers(30, 225, 3)
            (root / name).mkdir(parents=True)
            for number in range(images):
                noise = generator.normal(0, 25, (size, size, 3))
                pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / name / f"{number}.png")
        return root

    return write


def _without_pictures():
    """Let runs draw none: pictures take longer than all else in a tiny run, and are no state."""
    running = "pml_incremental.experiment.running"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{running}.outputs.draw_matrices", lambda *args: {})
        patch.setattr(f"{running}.outputs._draw_over_time", lambda *args: None)
        patch.setattr(f"{running}.task_loop.draw_retrievals", lambda *args: None)
        yield


without_pictures = pytest.fixture(_without_pictures)
module_without_pictures = pytest.fixture(scope="module")(_without_pictures)  # in fixtures too


@pytest.fixture(scope="session")
def glyphs_drawn_once():
    """Let datasets of glyphs share what they look at to choose their classes."""
    from pml_incremental.datasets import glyphs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "drawings_by_face", functools.cache(glyphs.drawings_by_face))
        yield


@pytest.fixture(scope="session")
def tiny_config(glyphs_drawn_once):
    """A config of a run over three tiny tasks, in a folder, with changes."""
    from pml_incremental.config import ExperimentConfig

    def make(folder, tasks=3, **changes):
        scripts = ["armenian", "georgian", "arrows", "greek"][:tasks]
        values = {
            "name": "tiny",
            "output": str(folder),
            "threads": 1,
            "dataset": {
                "Glyphs": {"scripts": scripts, "max_classes_per_script": 8, "image_size": 16}
            },
            "scenario": {"ClassIncrementalScenario": {"class_groups": "natural"}},
            "models": {
                "trunk": {"SmallConvNet": {"width": 4}},
                "embedder": {"MLP": {"layer_sizes": [8]}},
            },
            "loss_funcs": {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}},
            "sampler": {"MPerClassSampler": {"m": 4}},
            "optimizers": {
                "trunk_optimizer": {"Adam": {"lr": 1e-3}},
                "embedder_optimizer": {"Adam": {"lr": 1e-3}},
            },
            "trainer": {"IncrementalMetricLoss": {"batch_size": 16, "iterations_per_epoch": 3}},
            "num_epochs": [2, 1],
        }
        return ExperimentConfig.model_validate({**values, **changes})

    return make
