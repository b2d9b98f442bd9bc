import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset

from pml_incremental.report import nearest, retrieval_rows

coordinates = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=2)


@given(st.lists(coordinates, min_size=2, max_size=12), st.integers(1, 14), st.data())
def test_nearest_equals_a_naive_loop(points, k, data):
    queries = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1))

    found = nearest(torch.tensor(points), queries, k)

    for query, row in zip(queries, found.tolist(), strict=True):
        others = [i for i in range(len(points)) if i != query]
        expected = sorted(others, key=lambda i: (math.dist(points[i], points[query]), i))
        assert row == expected[:k]


def test_nearest_tells_near_points_apart_in_half_precision_too():
    points = torch.tensor([[1000.0], [1001.0], [1002.0]], dtype=torch.float16)
    assert nearest(points, [2]).tolist() == [[1, 0]]


def test_nearest_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="query_indices must be from 0 to 2"):
        nearest(torch.zeros(3, 2), [0, 3])
    with pytest.raises(ValueError, match="query_indices must be from 0 to 2"):
        nearest(torch.zeros(3, 2), [-1])
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        nearest(torch.zeros(3, 2), [0], k=0)


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
