"""Where warped pixels come from."""

import math

import pytest
import torch

from pml_incremental.probes import warp
from pml_incremental.probes.warp import _matrices, apply_affine

STILL = {"degrees": 0, "scale": (1, 1), "shear": 0, "shift": 0, "flip": False}


def images(height=9, width=9):
    return torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0)).double()


def turned(batch, degrees):
    one = torch.ones(len(batch))
    matrices = _matrices(one * math.radians(degrees), one, one * 0, one)
    return apply_affine(batch, matrices, torch.zeros(len(batch), 2, 1))


def test_nothing_to_change_gives_the_images():
    made = warp(images(), torch.Generator(), **STILL)
    torch.testing.assert_close(made, images(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_move_pixels_exactly(quarters):
    made = turned(images(), 90 * quarters)
    found = [torch.rot90(images(), turns, (2, 3)) for turns in (quarters, -quarters)]
    assert min((made - image).abs().max() for image in found) < 1e-5


def test_a_turn_keeps_distances_in_images_that_are_not_square():
    batch = torch.zeros(1, 1, 21, 41)
    batch[0, 0, 10, 26] = 1  # six pixels right of the middle
    row, column = divmod(int(turned(batch, 90).flatten().argmax()), 41)
    assert abs(row - 10) == 6
    assert column == 20


def test_half_of_the_images_are_mirrored():
    batch = torch.rand(200, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    made = warp(batch, torch.Generator().manual_seed(0), **{**STILL, "flip": True})
    mirrored = torch.isclose(made, batch.flip(-1), atol=1e-5).all(dim=(1, 2, 3))
    assert 70 < int(mirrored.sum()) < 130


def test_magnification_makes_things_larger():
    batch = torch.zeros(1, 1, 33, 33)
    batch[:, :, 12:21, 12:21] = 1
    area = [
        warp(batch, torch.Generator(), **{**STILL, "scale": (scale, scale)}).sum().item() / 81
        for scale in (0.5, 2.0)
    ]
    assert area == pytest.approx([0.25, 4.0], rel=0.3)
