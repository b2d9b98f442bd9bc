"""Turned copies and the classes they are of."""

import pytest
import torch

from pml_incremental.probes import turn_images, turn_of_classes, turned_labels


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_images_of_a_class_are_turned_alike_and_classes_differently():
    labels = torch.arange(300) % 100
    turns = turn_of_classes(labels, seeded())
    assert torch.equal(turns[:100], turns[100:200])
    assert turns.unique().tolist() == list(range(7))
    counts = turns[:100].bincount()
    assert counts.min() > 5
    assert counts.max() < 30


def test_large_labels_are_spread_too():
    turns = turn_of_classes(torch.arange(100) + 2**40, seeded())
    assert len(turns.unique()) == 7


def test_another_batch_turns_a_class_another_way():
    labels = torch.arange(100)
    first, second = (turn_of_classes(labels, seeded(seed)) for seed in (1, 2))
    assert 0 < (first == second).float().mean() < 0.5


def test_the_seven_turns_are_all_ways_to_lay_a_square_but_as_it_is():
    image = torch.rand(1, 2, 5, 5, generator=seeded())
    made = turn_images(image.expand(7, -1, -1, -1), torch.arange(7))
    ways = {tuple(way.flatten().tolist()) for way in [*made, image[0]]}
    assert len(ways) == 8
    values = image.flatten().sort().values
    assert all(torch.equal(way.flatten().sort().values, values) for way in made)


def test_images_that_are_not_square_keep_their_shape():
    images = torch.rand(6, 1, 4, 7, generator=seeded())
    turns = turn_of_classes(torch.arange(6), seeded(), square=False)
    made = turn_images(images, turns)
    assert made.shape == images.shape
    assert turns.max() <= 2
    assert not any(torch.equal(a, b) for a, b in zip(made, images, strict=True))


def test_labels_are_one_for_each_class_and_turn_and_no_class_of_the_dataset():
    labels, turns = torch.meshgrid(torch.arange(50), torch.arange(7), indexing="ij")
    made = turned_labels(labels.flatten(), turns.flatten())
    assert len(made.unique()) == 350
    assert made.max() < 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8])
def test_any_dtype_is_turned(dtype):
    images = (torch.rand(3, 1, 4, 4, generator=seeded()) * 9).to(dtype)
    assert turn_images(images, torch.tensor([0, 3, 6])).dtype == dtype
