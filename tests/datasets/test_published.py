"""Published datasets, in tiny trees of their layouts."""

import pickle
import shutil

import numpy as np
import pytest

from pml_incremental import datasets
from pml_incremental.scenarios import ClassIncrementalScenario

SPLIT_BY_IMAGE = ["CUB", "Cars196", "INaturalist2018", "StanfordDogs", "Flowers102"]
SPLIT_BY_IMAGE += ["OxfordIIITPet", "CIFAR100"]
SPLIT_BY_CLASS = ["StanfordOnlineProducts", "Omniglot"]
KINDS = ["bicycle", "bicycle", "sofa", "sofa"]
CLASSES = {
    "CUB": ["001.Bird_0", "002.Bird_1", "003.Bird_2", "004.Bird_3"],
    "Cars196": [
        "AM General Hummer SUV 2000",
        "Acura RL Sedan 2012",
        "Ram C/V Cargo Van Minivan 2012",
        "Ram C/V Cargo Van Minivan 2013",
    ],
    "StanfordOnlineProducts": [
        f"{kind}_final/11108512287{number}" for kind, number in zip(KINDS, "1324", strict=True)
    ],
    "INaturalist2018": ["Aves/2761", "Aves/2763", "Fungi/2762", "Fungi/2764"],
    "StanfordDogs": [f"n0208562{label}-Breed_{label}" for label in range(4)],
    "Flowers102": ["pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea"],
    "OxfordIIITPet": ["Abyssinian", "American Bulldog", "Bengal", "Pug"],
    "CIFAR100": ["apple", "aquarium_fish", "baby", "bear"],
    "Omniglot": [f"{script}/character0{n}" for script in ("Glagolitic", "Greek") for n in (1, 2)],
}
ALL = list(CLASSES)
PAINTED = ["CUB", "Cars196", "StanfordDogs", "Flowers102", "OxfordIIITPet"]  # red says the class


@pytest.mark.parametrize("name", ALL)
def test_images_labels_and_names(make_tree, name):
    dataset = getattr(datasets, name)(make_tree(name))
    assert dataset.classes[:4] == CLASSES[name]
    assert np.bincount(dataset.labels).tolist() == [6, 6, 6, 6]
    assert dataset.labels.dtype == np.int64
    assert len(dataset) == 24
    for index in range(len(dataset)):
        image, label = dataset[index]
        assert image.mode == ("L" if name == "Omniglot" else "RGB")
        assert label == dataset.labels[index]
        assert isinstance(label, int)
    assert len({dataset.image_name(index) for index in range(24)}) == 24
    if name in PAINTED:
        reds = [np.asarray(dataset[index][0])[..., 0].mean() for index in range(24)]
        assert [round((red - 30) / 40) for red in reds] == dataset.labels.tolist()


@pytest.mark.parametrize("name", SPLIT_BY_IMAGE)
def test_held_out_images_are_those_of_the_source(make_tree, name):
    dataset = getattr(datasets, name)(make_tree(name))
    assert np.bincount(dataset.labels[dataset.test_mask]).tolist() == [2, 2, 2, 2]
    scenario = ClassIncrementalScenario(dataset, classes_per_task=[2, 2])
    assert [(len(task.train), len(task.test)) for task in scenario] == [(8, 4), (8, 4)]
    assert scenario.class_names == tuple(CLASSES[name])


@pytest.mark.parametrize(
    ("name", "held_out"),
    [("CUB", {"0002", "0005"}), ("StanfordDogs", {"2", "5"}), ("OxfordIIITPet", {"2", "5"})],
)
def test_split_is_read_and_not_guessed(make_tree, name, held_out):
    dataset = getattr(datasets, name)(make_tree(name))
    numbers = {dataset.paths[i].stem.rpartition("_")[2] for i in np.flatnonzero(dataset.test_mask)}
    assert numbers == held_out


@pytest.mark.parametrize("name", [*SPLIT_BY_CLASS, "INaturalist2018"])
def test_natural_groups_and_without_a_split_by_image_the_scenario_holds_out(make_tree, name):
    dataset = getattr(datasets, name)(make_tree(name))
    assert (dataset.test_mask is None) is (name in SPLIT_BY_CLASS)
    scenario = ClassIncrementalScenario(dataset, class_groups="natural")
    assert [task.classes for task in scenario] == [(0, 1), (2, 3)]
    assert [(len(task.train), len(task.test)) for task in scenario] == [(8, 4), (8, 4)]


@pytest.mark.parametrize("name", ALL)
def test_transform_and_pickling(make_tree, name):
    dataset = getattr(datasets, name)(str(make_tree(name)), transform=np.asarray)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[3][0], dataset[3][0])


@pytest.mark.parametrize("name", ALL)
def test_missing_dataset_says_how_to_get_it(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} is incomplete under .*--download"):
        getattr(datasets, name)(tmp_path)
    assert not list(tmp_path.iterdir()) or name == "Omniglot"


@pytest.mark.parametrize("name", ["CUB", "Cars196", "StanfordDogs", "Flowers102"])
def test_missing_images_and_lists_are_named(make_tree, name):
    root = make_tree(name)
    lost = getattr(datasets, name)(root).paths[5]
    lost.unlink()
    message = rf"{name}: 1 of 24 images listed are missing.*{lost.name}"
    with pytest.raises(ValueError, match=message):
        getattr(datasets, name)(root)
    if name == "CUB":
        (root / "CUB_200_2011" / "train_test_split.txt").unlink()
        with pytest.raises(ValueError, match=r"CUB_200_2011/train_test_split\.txt missing"):
            datasets.CUB(root)


def test_truncated_image_is_named_when_it_is_read(make_tree):
    dataset = datasets.StanfordDogs(make_tree("StanfordDogs"))
    dataset.paths[0].write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read the image"):
        dataset[0]


def test_order_of_omniglot_is_that_of_names(make_tree):
    root = make_tree("Omniglot")
    listed = datasets.Omniglot(root).paths
    moved = root / "omniglot-py" / "images_background" / "Greek"
    shutil.copytree(moved, moved.parent / "copy")
    shutil.rmtree(moved)
    (moved.parent / "copy").rename(moved)
    assert datasets.Omniglot(root).paths == listed == sorted(listed)
