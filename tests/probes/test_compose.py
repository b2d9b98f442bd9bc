"""One after another, and side by side."""

import pickle
from functools import partial

import pytest
import torch

from pml_incremental.probes import check_probe_images, cut_and_mix, in_turn, side_by_side, warp
from pml_incremental.probes.compose import probe_name

IMAGES = torch.zeros(4, 3, 8, 8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def writes(value):
    return lambda images, generator: torch.full_like(images, value)


def makers(made):
    """Which probe, by the value it writes, made each image."""
    return made[:, 0, 0, 0].int().tolist()


def test_in_turn_is_one_after_another_from_one_generator():
    images, generator = torch.rand(5, 3, 8, 8), seeded()
    expected = cut_and_mix(warp(images, generator), generator)
    assert torch.equal(in_turn([warp, cut_and_mix])(images, seeded()), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 9])
def test_shares_differ_by_one_image_at_most(count):
    probe = side_by_side([writes(value) for value in range(3)])
    made = makers(probe(torch.rand(count, 1, 2, 2), seeded()))
    sizes = [made.count(value) for value in range(3)]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_each_probe_makes_each_image_as_often():
    probe = side_by_side([writes(value) for value in range(3)])
    for count in (1, 2, 5):
        images = torch.rand(count, 1, 1, 1)
        draws = torch.tensor([makers(probe(images, seeded(seed))) for seed in range(600)])
        for value in range(3):
            often = (draws == value).float().mean(dim=0)
            torch.testing.assert_close(often, torch.full((count,), 1 / 3), atol=0.08, rtol=0)


def test_what_is_made_of_an_image_takes_its_place():
    images = torch.rand(7, 1, 2, 2)
    made = side_by_side([lambda x, g: x + 1, lambda x, g: x + 2])(images, seeded())
    torch.testing.assert_close(made.frac(), images)


def test_a_probe_without_a_share_is_not_called():
    def fails(images, generator):
        raise AssertionError(len(images))

    probe = side_by_side([writes(1), fails])
    outcomes = set()
    for seed in range(20):
        try:
            outcomes.add(makers(probe(torch.rand(1, 1, 1, 1), seeded(seed)))[0])
        except AssertionError as error:
            outcomes.add(str(error))
    assert outcomes == {1, "1"}


def test_they_contain_each_other_and_can_be_pickled():
    probe = side_by_side([warp, in_turn([warp, cut_and_mix])])
    images = torch.rand(6, 3, 8, 8)
    again = pickle.loads(pickle.dumps(probe))
    assert torch.equal(again(images, seeded()), probe(images, seeded()))


@pytest.mark.parametrize("compose", [in_turn, side_by_side])
def test_what_a_probe_makes_is_checked_and_what_cannot_be_composed_said(compose):
    def crop(images, generator):
        return images[..., 1:]

    with pytest.raises(ValueError, match="the probe 'crop' made images of shape"):
        compose([crop, warp])(torch.rand(4, 1, 8, 8), seeded())
    with pytest.raises(ValueError, match=f"{compose.__name__} got no probes"):
        compose([])
    with pytest.raises(TypeError, match="got 'warp': build_probe finds them by name"):
        compose(["warp"])


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (IMAGES[:2], ValueError, r"'mine' made images of shape \(2, 3, 8, 8\) from images of"),
        (IMAGES[..., :4], ValueError, r"made images of shape \(4, 3, 8, 4\)"),
        (IMAGES.half(), TypeError, "made images of torch.float16 from images of torch.float32"),
        (IMAGES.byte(), TypeError, r"made images of torch.uint8 .* return made.to\(images.dtype\)"),
        (IMAGES.to("meta"), ValueError, "made images on meta from images on cpu"),
        (None, TypeError, "the probe 'mine' made a NoneType: return a tensor"),
    ],
)
def test_other_images_are_refused(made, error, message):
    check_probe_images(IMAGES + 1, IMAGES, "mine")
    with pytest.raises(error, match=message):
        check_probe_images(made, IMAGES, "mine")


def test_probes_are_called_by_their_function_or_class():
    class Grey:
        def __call__(self, images, generator):
            return images

    assert probe_name(warp) == "warp"
    assert probe_name(partial(partial(warp, degrees=3), flip=False)) == "warp"
    assert probe_name(Grey()) == "Grey"
    assert "in_turn" in probe_name(in_turn([warp]))
