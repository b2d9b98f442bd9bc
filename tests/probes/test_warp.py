"""Where warped pixels come from."""

import importlib
import math

import pytest
import torch

from pml_incremental.probes import warp
from pml_incremental.probes.warp import _look_up, _matrices

STILL = {"degrees": 0, "scale": (1, 1), "shear": 0, "shift": 0, "flip": False}


def images(height=9, width=9):
    return torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0)).double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def looked_up(batch, degrees=0.0, zoom=1.0, shear=0.0, mirror=1.0, shift=(0.0, 0.0)):
    one = torch.ones(len(batch), dtype=torch.float64)
    matrices = _matrices(one * math.radians(degrees), one * zoom, one * shear, one * mirror)
    return _look_up(batch, matrices, torch.tensor([shift] * len(batch), dtype=torch.float64))


@pytest.mark.parametrize("size", [(9, 9), (8, 12), (1, 5)])
def test_nothing_to_change_gives_the_images(size):
    made = warp(images(*size), seeded(), **STILL)
    torch.testing.assert_close(made, images(*size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_move_pixels_exactly(quarters, size):
    batch = images(size, size)
    turned = torch.rot90(batch, quarters, (2, 3))
    torch.testing.assert_close(looked_up(batch, 90 * quarters), turned)


def test_half_turns_and_mirrors_of_an_image_that_is_not_square():
    batch = images(7, 12)
    torch.testing.assert_close(looked_up(batch, 180), batch.flip(2, 3))
    torch.testing.assert_close(looked_up(batch, mirror=-1.0), batch.flip(-1))


def test_a_turn_keeps_distances_in_images_that_are_not_square():
    batch = torch.zeros(1, 1, 21, 41)
    batch[0, 0, 10, 26] = 1  # six pixels right of the middle
    row, column = divmod(int(looked_up(batch, 90).flatten().argmax()), 41)
    assert (abs(row - 10), column) == (6, 20)


@pytest.mark.parametrize("degrees", [30, 45, 200])
def test_a_turned_disc_stays_a_disc(degrees):
    y, x = torch.meshgrid(torch.arange(31.0) - 15, torch.arange(61.0) - 30, indexing="ij")
    disc = ((x**2 + y**2).sqrt() < 10).float().view(1, 1, 31, 61)
    assert (looked_up(disc, degrees) - disc).abs().mean() < 0.03


def test_a_shift_is_a_share_of_width_and_height():
    batch = images(8, 12)
    made = looked_up(batch, shift=(0.25, -0.5))
    torch.testing.assert_close(made[:, :, 4:, :-3], batch[:, :, :4, 3:])
    torch.testing.assert_close(made[:, :, :4, :-3], batch[:, :, :1, 3:].expand(-1, -1, 4, -1))


def test_shear_moves_rows_by_pixels_for_each_pixel_of_height():
    batch = images(5, 9)
    made = looked_up(batch, shear=1.0)
    torch.testing.assert_close(made[:, :, 0, 2:], batch[:, :, 0, :-2])
    torch.testing.assert_close(made[:, :, 2], batch[:, :, 2])
    torch.testing.assert_close(made[:, :, 4, :-2], batch[:, :, 4, 2:])


def test_zoom_makes_things_larger():
    batch = torch.zeros(1, 1, 33, 33)
    batch[:, :, 12:21, 12:21] = 1
    options = [{**STILL, "scale": (zoom, zoom)} for zoom in (0.5, 2.0)]
    area = [warp(batch, seeded(), **given).sum().item() / 81 for given in options]
    assert area == pytest.approx([0.25, 4.0], rel=0.3)


def test_half_of_the_images_are_mirrored():
    batch = torch.rand(200, 1, 1, 2, generator=seeded())
    made = warp(batch, seeded(), **{**STILL, "flip": True})
    mirrored = torch.isclose(made, batch.flip(-1), atol=1e-5).all(dim=(1, 2, 3))
    assert 70 < int(mirrored.sum()) < 130


@pytest.mark.parametrize(
    ("option", "number"), [("degrees", 40), ("scale", (0.5, 2)), ("shear", 0.5), ("shift", 0.3)]
)
def test_draws_differ_between_images_and_reach_both_bounds(monkeypatch, option, number):
    seen = []
    module = importlib.import_module("pml_incremental.probes.warp")  # the function hides it
    monkeypatch.setattr(module, "_look_up", lambda _, *drawn: seen.extend(drawn))
    warp(torch.zeros(2000, 1, 2, 2), seeded(), **{**STILL, option: number})
    (a, b), (c, d) = seen[0].permute(1, 2, 0)
    turned, shifts = torch.atan2(c, a).rad2deg(), seen[1].flatten()
    drawn = {"degrees": turned, "scale": 1 / a, "shear": b, "shift": shifts}[option]
    low, high = number if option == "scale" else (-number, number)
    room = 0.02 * (high - low)
    assert low - 1e-4 <= drawn.min() < low + room
    assert high - room < drawn.max() <= high + 1e-4
    assert drawn.mean().item() == pytest.approx((low + high) / 2, abs=2 * room)
    if option == "degrees":
        torch.testing.assert_close(a * d - b * c, torch.ones(2000))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"degrees": -9}, ValueError, "degrees of warp must be finite and at least 0, got -9"),
        ({"shear": math.nan}, ValueError, "shear of warp must be finite and at least 0, got nan"),
        ({"shift": math.inf}, ValueError, "shift of warp must be finite"),
        ({"shift": "0.1"}, TypeError, "shift of warp must be a number, got '0.1'"),
        ({"degrees": True}, TypeError, "degrees of warp must be a number, got True"),
        ({"scale": (0, 1)}, ValueError, "scale of warp must be finite and above 0, got 0"),
        ({"scale": [2, 1]}, ValueError, r"scale of warp .* got \[2, 1\]: swap them"),
        ({"scale": 1.2}, TypeError, "scale of warp must be two numbers, .* got 1.2"),
        ({"flip": "no"}, TypeError, "flip of warp must be true or false, got 'no'"),
    ],
)
def test_bad_options_are_said(options, error, message):
    with pytest.raises(error, match=message):
        warp(images(), seeded(), **options)
