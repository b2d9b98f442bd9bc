import pickle
from pathlib import Path

import numpy as np
import pytest

from pml_incremental.datasets import NpzImages
from pml_incremental.scenarios import ClassIncrementalScenario

EMOJI = Path(__file__).parents[3] / "shared" / "data" / "emoji_dev.npz"


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "x": rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "y": np.array([2, 0, 1, 2, 0, 1], dtype=np.int32),
        "vendor": np.array(["a", "b", "c", "a", "b", "c"]),
        "classes": np.array(["sun", "moon", "star"]),
    }


@pytest.fixture
def write(tmp_path):
    def save(arrays):
        np.savez(tmp_path / "images.npz", **arrays)
        return tmp_path / "images.npz"

    return save


def test_reads_colour_images(write, arrays):
    dataset = NpzImages(write(arrays))
    image, label = dataset[3]
    assert (image.mode, image.size, label) == ("RGB", (4, 5), 2)
    assert isinstance(label, int)
    assert np.array_equal(np.asarray(image), arrays["x"][3])
    assert len(dataset) == 6
    assert dataset.labels.tolist() == [2, 0, 1, 2, 0, 1]
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == ["sun", "moon", "star"]
    assert dataset.test_mask is None
    assert dataset.image_name(3).startswith("image 3 of ")


def test_reads_grey_images_under_other_names(write, arrays):
    path = write({"pictures": arrays["x"][..., 0], "ids": arrays["y"], "names": arrays["classes"]})
    dataset = NpzImages(path, images="pictures", labels="ids", classes="names")
    assert dataset[0][0].mode == "L"
    assert dataset.classes == ["sun", "moon", "star"]


def test_class_names_are_optional_and_transform_and_pickling_work(write, arrays):
    del arrays["classes"]
    dataset = pickle.loads(pickle.dumps(NpzImages(write(arrays), transform=np.asarray)))
    assert dataset.classes is None
    assert np.array_equal(dataset[1][0], arrays["x"][1])


def test_split_by_value(write, arrays):
    path = write(arrays)
    by_vendor = NpzImages(path, test_values=["a", "c"]).test_mask
    assert by_vendor.tolist() == [True, False, True, True, False, True]
    by_label = NpzImages(path, test_values=[1], test_key="y").test_mask
    assert by_label.tolist() == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"x": None}, {}, "has no array 'x', only y, vendor, classes"),
        ({"y": None}, {}, "has no array 'y'"),
        ({"classes": None}, {"classes": "names"}, "has no array 'names'"),
        ({}, {"test_values": ["a"], "test_key": "maker"}, "has no array 'maker'"),
        ({"x": np.zeros((6, 5, 4, 3))}, {}, "images 'x' must be uint8, got float64"),
        ({"x": np.zeros((6, 5), np.uint8)}, {}, r"shape \(N, H, W\) or .* got \(6, 5\)"),
        ({"x": np.zeros((6, 5, 4, 4), np.uint8)}, {}, r"got \(6, 5, 4, 4\)"),
        ({"x": np.zeros((0, 5, 4), np.uint8)}, {}, "not be empty"),
        ({"y": np.zeros(6)}, {}, "labels 'y' must be integers, got float64"),
        ({"y": np.zeros(5, int)}, {}, r"labels 'y' must have shape \(6,\).* got \(5,\)"),
        ({"classes": np.array(["sun"])}, {}, "those of 1 class, .* labels go from 0 to 2"),
        ({"y": np.array([0, 0, 0, 1, 1, -1])}, {}, "labels go from -1 to 1"),
        ({"classes": np.arange(3)}, {}, "class names 'classes' must be strings"),
        ({}, {"test_values": ["a", "z"]}, "holds 'a', 'b', 'c': .*, got 'z'"),
        ({}, {"test_values": []}, "holds 'a', .*, got none"),
        ({}, {"test_values": ["a", "b", "c"]}, "no image is left to train on"),
        ({"vendor": np.array(["a"])}, {"test_values": ["a"]}, r"array 'vendor' must have shape"),
        ({"y": np.array([0, None] * 3)}, {}, "array 'y' cannot be read: Object arrays"),
    ],
)
def test_bad_files(write, arrays, change, arguments, message):
    changed = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        NpzImages(write(changed), **arguments)


def test_test_values_must_be_a_list(write, arrays):
    with pytest.raises(TypeError, match="must be a list of values, got the string 'a'"):
        NpzImages(write(arrays), test_values="a")


def test_file_that_is_no_npz(tmp_path):
    path = tmp_path / "images.npz"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"images\.npz is not a complete npz file"):
        NpzImages(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="is not a complete npz file"):
        NpzImages(path)
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ValueError, match="holds a single array: write it with numpy"):
        NpzImages(tmp_path / "x.npy")
    with pytest.raises(FileNotFoundError, match="none"):
        NpzImages(tmp_path / "none.npz")


def test_damaged_array(write, arrays):
    path = write(arrays)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="array 'x' cannot be read: Bad CRC"):
        NpzImages(path)


def test_emoji_by_held_out_vendors():
    if not EMOJI.is_file():
        pytest.skip(f"the development images {EMOJI} are not there")
    vendors = ["noto", "openmoji", "fluent-emoji-flat", "emojione"]
    dataset = NpzImages(EMOJI, test_values=vendors)
    assert len(dataset) == 3157
    scenario = ClassIncrementalScenario(dataset, classes_per_task=[100, 100, 100])
    test = [image for task in scenario for image in task.test.indices]
    assert sorted(test) == np.flatnonzero(dataset.test_mask).tolist()
    assert scenario.class_names == tuple(dataset.classes)
