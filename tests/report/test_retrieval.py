import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset

from pml_incremental.report import retrieval_rows


def images(labels):
    return [(Image.new("L", (4, 4), 10 * label), label) for label in labels]


def test_rows_over_the_joint_gallery_of_two_tasks():
    joint = ConcatDataset([images([0, 0]), images([7, 7, 8])])
    embeddings = torch.tensor([[0.0], [2.0], [1.0], [9.0], [8.0]])

    first, last = retrieval_rows(joint, embeddings, [0, 4], {0: "a", 7: "b", 8: "c"}, k=2)

    assert (first.query.class_name, first.query.label) == ("a", 0)
    assert [item.class_name for item in first.found] == ["b", "a"]
    assert first.hits() == (False, True)
    assert np.asarray(first.found[0].image).max() == 70
    assert [item.class_name for item in last.found] == ["b", "a"]
    assert last.hits() == (False, False)


def test_rows_need_images_that_match_the_embeddings():
    with pytest.raises(ValueError, match="dataset has 2 images but embeddings has 3 rows"):
        retrieval_rows(images([0, 0]), torch.zeros(3, 1), [0], ["a"])
    tensors = [(torch.zeros(1, 4, 4), 0)] * 2
    with pytest.raises(TypeError, match=r"image 1 is a Tensor.*with_transform\(None\)"):
        retrieval_rows(tensors, torch.zeros(2, 1), [1], ["a"])


@pytest.mark.parametrize("query", [-1, 2])
def test_a_query_that_is_not_there_is_an_error(query):
    with pytest.raises(ValueError, match="queries must be rows within 0 to 2"):
        retrieval_rows(images([0, 0]), torch.zeros(2, 1), [query], ["a"])


def test_at_least_one_image_is_looked_for():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        retrieval_rows(images([0, 0]), torch.zeros(2, 1), [0], ["a"], k=0)
