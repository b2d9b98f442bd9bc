"""Images drawn from nothing."""

import pytest
import torch

from pml_incremental.probes import blobs, dead_leaves, strokes
from pml_incremental.probes.drawn import LARGEST, SMALLEST, _in_leaf, _places, _smooth_noise

CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(count=4, channels=1, height=32, width=32, low=0.0, high=1.0):
    """Images that hold nothing but the two ends of a range, mostly the lower one."""
    images = torch.full((count, channels, height, width), low)
    images[:, :, :4] = high
    return images


def test_strokes_are_light_on_dark_and_dark_on_light():
    dark = ramp(low=-1.0)
    drawn = [strokes(batch, seeded()) for batch in (dark, -dark)]
    assert set(drawn[0].unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(drawn[0], -drawn[1])
    inked = (drawn[0] == 1).float().mean(dim=(1, 2, 3))
    assert (inked > 0.1).all()
    assert (inked < 0.8).all()


def test_each_channel_has_a_ground_of_its_own():
    images = torch.cat([ramp(), -ramp()], dim=1)
    drawn = strokes(images, seeded())
    assert (drawn.mode(dim=-1).values.mode(dim=-1).values == 0).all()
    assert (drawn[:, 0] >= 0).all()
    assert (drawn[:, 1] <= 0).all()


def test_strokes_of_all_channels_have_one_shape_and_each_image_its_colour():
    drawn = strokes(ramp(channels=3), seeded())
    inked = drawn > 0
    assert (inked == inked[:, :1]).all()
    colours = drawn.amax(dim=(2, 3))
    assert (colours.amax(dim=1) == 1).all()
    assert len(colours.unique(dim=0)) == 4
    assert all(len(channel.unique()) == 2 for image in drawn for channel in image)


def test_wider_strokes_have_more_ink():
    widths = (0.0, 0.2, 0.6, 9.0)
    ink = [strokes(ramp(16), seeded(), width=(width, width)).mean() for width in widths]
    assert ink[0] == 0
    assert ink == sorted(ink)
    assert ink[3] > 0.99


def test_more_cells_give_finer_patterns_of_different_coarseness():
    images = ramp(16, width=64)
    drawn = (strokes(images, seeded(), cells=(n, n), width=(0.5, 0.5)) for n in (2, 16))
    coarse, fine = ((made.diff(dim=-1) != 0).float().mean() for made in drawn)
    assert fine > 4 * coarse
    noise = _smooth_noise(torch.zeros(400, 1, 64, 64), 1, (2, 16), seeded())
    steps = noise.diff(dim=-1).square().mean(dim=(1, 2, 3)).sqrt()
    assert steps.max() > 5 * steps.min()


def test_smooth_noise_passes_through_the_numbers_of_its_grid():
    generator = seeded()
    noise = _smooth_noise(torch.zeros(3, 1, 5, 5), 2, (5, 5), generator)
    drawn = torch.randn(3, 2, 9, 9, generator=seeded())
    torch.testing.assert_close(noise, drawn[:, :, 2:7, 2:7], atol=1e-4, rtol=0)


def test_each_channel_of_blobs_fills_the_range_with_a_pattern_of_its_own():
    images = torch.cat([ramp(low=-3.0), ramp(high=9.0)], dim=1)
    drawn = blobs(images, seeded())
    assert drawn.amin(dim=(2, 3)).tolist() == [[-3.0, 0.0]] * 4
    assert drawn.amax(dim=(2, 3)).tolist() == [[1.0, 9.0]] * 4
    scaled = torch.stack([(drawn[:, 0] + 3) / 4, drawn[:, 1] / 9]).flatten(1)
    assert torch.corrcoef(scaled)[0, 1].abs() < 0.5
    assert blobs(ramp(width=64, height=64), seeded()).diff(dim=-1).abs().max() < 0.25


def test_leaves_have_one_colour_each_and_cover_most():
    drawn = dead_leaves(ramp(channels=3), seeded(), leaves=5)
    for image in drawn.flatten(2):
        assert 2 <= len(image.unique(dim=1).T) <= 6
    many = dead_leaves(ramp(16), seeded(), leaves=24)
    grounds = many.flatten(1).mode(dim=1).values
    assert (many.flatten(1) == grounds[:, None]).float().mean() < 0.5


def test_later_leaves_lie_on_earlier_ones():
    """With so many leaves the ground and the first of them are hardly seen."""
    few, many = (dead_leaves(ramp(8), seeded(), leaves=leaves).flatten(1) for leaves in (1, 300))
    assert all(len(image.unique()) <= 2 for image in few)
    assert all(len(image.unique()) < 150 for image in many)


def test_sizes_of_leaves_follow_a_power_law():
    sizes = torch.linspace(0, 1, 9)
    shape = torch.full((5, 9, 1, 1, 1), 0.5)
    shape[2, :, 0, 0, 0] = sizes
    shape[3] = 1.0  # round
    x, y = _places(401, 1.0, CPU), _places(401, 1.0, CPU).view(-1, 1)
    area = 4 * _in_leaf(x, y, shape).float().mean(dim=(1, 2, 3))
    radius = (area / torch.pi).sqrt()
    # Of a density that falls with the cube, the share of sizes below r:
    below = (SMALLEST**-2 - radius**-2) / (SMALLEST**-2 - LARGEST**-2)
    torch.testing.assert_close(below, sizes, atol=0.03, rtol=0)


def test_round_leaves_are_round_in_images_that_are_not_square():
    shape = torch.tensor([0.5, 0.5, 0.9, 1.0, 0.3]).view(5, 1, 1, 1, 1)
    x, y = _places(80, 2.0, CPU), _places(20, 0.5, CPU).view(-1, 1)
    covered = _in_leaf(x, y, shape)[0, 0]
    assert covered.any(dim=0).sum() == covered.any(dim=1).sum()


@pytest.mark.parametrize(
    ("probe", "options", "error", "message"),
    [
        (strokes, {"cells": (0, 3)}, ValueError, "cells of strokes must be at least 1, got 0"),
        (strokes, {"cells": (5, 3)}, ValueError, "cells of strokes .* swap them"),
        (strokes, {"cells": 4}, TypeError, "cells of strokes must be two numbers"),
        (blobs, {"cells": (2, 3.5)}, TypeError, "cells of blobs must be a whole number, got 3.5"),
        (strokes, {"width": (-1, 1)}, ValueError, "width of strokes must be finite and at least 0"),
        (dead_leaves, {"leaves": 0}, ValueError, "leaves of dead_leaves must be at least 1, got 0"),
        (dead_leaves, {"leaves": 2.0}, TypeError, "leaves of dead_leaves must be a whole number"),
    ],
)
def test_bad_options_are_said(probe, options, error, message):
    with pytest.raises(error, match=message):
        probe(ramp(), seeded(), **options)
