import numpy as np
import pytest
import torch

from pml_incremental.scenarios import TaskSubset


class Pairs(list):
    """Items as they are."""


class Files(Pairs):
    def image_name(self, index):
        return f"/images/{index}.png"


def subset_of(dataset, indices=(2, 0), labels=(0, 1), listed=(8, 7), **arguments):
    return TaskSubset(dataset, np.array(indices), np.array(labels), np.array(listed), **arguments)


ITEMS = [("a", 7), ("b", 8), ("c", 8)]


@pytest.mark.parametrize(
    "items",
    [
        ITEMS,
        [[image, label] for image, label in ITEMS],
        [{"data": image, "label": label} for image, label in ITEMS],
        [(image, torch.tensor(label)) for image, label in ITEMS],
        [(image, np.int32(label)) for image, label in ITEMS],
        [(image, label, "more") for image, label in ITEMS],
        [(image, f"name of {label}") for image, label in ITEMS],
        [{"data": image} for image, _ in ITEMS],
    ],
)
def test_items_of_both_forms(items):
    subset = subset_of(Pairs(items))
    assert [subset[0], subset[1]] == list(subset) == [("c", 0), ("a", 1)]
    assert len(subset) == 2
    assert all(type(subset[i][1]) is int for i in range(2))


def test_another_transform_and_names_of_images():
    subset = subset_of(Pairs(ITEMS), transform=str.upper)
    other = subset.with_transform(lambda image: image * 2)
    assert subset[0] == ("C", 0)
    assert other[0] == ("cc", 0)
    assert other.with_transform(None)[0] == ("c", 0)
    assert np.array_equal(other.indices, subset.indices)
    assert np.array_equal(other.labels, subset.labels)
    assert subset.image_name(0) == "image 2 of Pairs"
    assert subset_of(Files(ITEMS)).image_name(0) == "/images/2.png"


def test_item_with_another_label_than_listed():
    subset = subset_of(Files(ITEMS), listed=(7, 8))
    message = r"/images/2\.png has label 8, but the dataset's list of labels says 7: the list is "
    with pytest.raises(ValueError, match=message):
        subset[0]
    subset = subset_of(Pairs([("a", "cat")]), indices=[0], labels=[0], listed=["dog"])
    with pytest.raises(ValueError, match=r"has label 'cat', but .* says 'dog'"):
        subset[0]


def test_items_of_neither_form_and_arrays_of_different_lengths():
    for item, kind in (("a", "str"), ((1,), "tuple"), ({"image": 1}, "dict"), (None, "NoneType")):
        message = rf"\(image, label\) or a dictionary .* got {kind}"
        with pytest.raises(TypeError, match=message):
            subset_of(Pairs([item] * 3))[0]
    with pytest.raises(ValueError, match="one entry per image, got 2, 3 and 2"):
        subset_of(Pairs(ITEMS), labels=(0, 1, 2))
