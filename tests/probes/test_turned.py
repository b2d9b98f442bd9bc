"""Turned copies and the classes they are of."""

import torch

from pml_incremental.probes import (
    images_of_some_classes,
    turn_images,
    turn_of_classes,
    turned_labels,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_images_of_a_class_are_turned_alike_and_classes_and_batches_differently():
    labels = torch.arange(300) % 100
    turns = turn_of_classes(labels, seeded())
    assert torch.equal(turns[:100], turns[100:200])
    assert turns.unique().tolist() == list(range(3))
    counts = turns[:100].bincount()
    assert counts.min() > 20
    assert counts.max() < 50
    large = turn_of_classes(torch.arange(100) + 2**40, seeded())
    assert len(large.unique()) == 3
    first, second = (turn_of_classes(labels[:100], seeded(seed)) for seed in (1, 2))
    assert 0 < (first == second).float().mean() < 0.7


def test_the_turns_are_all_rotations_of_a_square_but_as_it_is():
    image = torch.rand(1, 2, 5, 5, generator=seeded())
    made = turn_images(image.expand(3, -1, -1, -1), torch.arange(3))
    for quarters, turned in enumerate(made, 1):
        back = torch.rot90(turned, -quarters, (-2, -1))
        assert torch.equal(back, image[0])
        assert not torch.equal(turned, image[0])
    for dtype in (torch.float64, torch.float16, torch.uint8):
        images = (torch.rand(3, 1, 4, 4, generator=seeded()) * 9).to(dtype)
        assert turn_images(images, torch.arange(3)).dtype == dtype


def test_chosen_classes_are_chosen_whole():
    labels = torch.arange(80) % 20
    chosen = images_of_some_classes(labels, 28, seeded())
    counts = labels[chosen].bincount(minlength=20)
    assert len(chosen.unique()) == 28
    assert counts.unique().tolist() == [0, 4]
    others = images_of_some_classes(labels, 28, seeded(1))
    assert labels[others].unique().tolist() != labels[chosen].unique().tolist()


def test_every_process_chooses_the_same_classes():
    labels = torch.stack([torch.arange(12) % 6, torch.arange(12).flip(0) % 6])
    chosen = images_of_some_classes(labels, 4, seeded())
    first, second = labels.gather(1, chosen).sort(dim=1).values
    assert torch.equal(first, second)


def test_images_that_are_not_square_keep_their_shape():
    images = torch.rand(6, 1, 4, 7, generator=seeded())
    turns = turn_of_classes(torch.arange(6), seeded(), square=False)
    made = turn_images(images, turns)
    assert made.shape == images.shape
    assert turns.max() == 0
    assert not any(torch.equal(a, b) for a, b in zip(made, images, strict=True))


def test_labels_are_one_for_each_class_and_turn_and_no_class_of_the_dataset():
    labels, turns = torch.meshgrid(torch.arange(50), torch.arange(3), indexing="ij")
    made = turned_labels(labels.flatten(), turns.flatten())
    assert len(made.unique()) == 150
    assert made.max() < 0
