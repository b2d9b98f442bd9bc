"""What is asked of a probe."""

from functools import partial

import pytest
import torch

from pml_incremental.probes import check_probe_images, in_turn, warp
from pml_incremental.probes.compose import probe_name

IMAGES = torch.zeros(4, 3, 8, 8)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (
            IMAGES[:2],
            ValueError,
            r"'mine' made images of shape \(2, 3, 8, 8\) from images of shape",
        ),
        (IMAGES[..., :4], ValueError, r"made images of shape \(4, 3, 8, 4\)"),
        (IMAGES.half(), TypeError, "made images of torch.float16 from images of torch.float32"),
        (IMAGES.byte(), TypeError, r"made images of torch.uint8 .* return made.to\(images.dtype\)"),
        (IMAGES.to("meta"), ValueError, "made images on meta from images on cpu"),
        (None, TypeError, "the probe 'mine' made a NoneType: return a tensor"),
    ],
)
def test_other_images_are_refused(made, error, message):
    with pytest.raises(error, match=message):
        check_probe_images(made, IMAGES, "mine")


def test_the_same_kind_of_images_is_fine():
    check_probe_images(IMAGES + 1, IMAGES, "mine")


def test_probes_are_called_by_their_function_or_class():
    class Grey:
        def __call__(self, images, generator):
            return images

    assert probe_name(warp) == "warp"
    assert probe_name(partial(partial(warp, degrees=3), flip=False)) == "warp"
    assert probe_name(Grey()) == "Grey"
    assert "in_turn" in probe_name(in_turn([warp]))
