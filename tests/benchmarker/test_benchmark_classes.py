"""Datasets and models in powerful-benchmarker's form, as far as they do without it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pml_incremental.benchmarker import classes


def test_items_are_dictionaries():
    glyphs = classes.Glyphs("unused", transform=np.asarray, scripts=("shapes",))
    item = glyphs[3]
    assert item["data"].shape == (32, 32)
    assert item["label"] == glyphs.labels[3]
    assert glyphs.transform is np.asarray


def test_folders_lie_under_the_root(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "pets" / name / "1.png")
    folder = classes.ImageFolder(str(tmp_path), download=False, folder="pets")
    assert [folder[i]["label"] for i in range(2)] == [0, 1]


def test_arrays_lie_under_the_root(tmp_path):
    np.savez(tmp_path / "some.npz", x=np.zeros((2, 8, 8), np.uint8), y=[1, 0])
    images = classes.NpzImages(str(tmp_path), path="some.npz", transform=np.asarray)
    assert images[0]["label"] == 1
    assert images[0]["data"].shape == (8, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_trunk_ends_in_a_layer_that_can_be_taken_off(channels):
    trunk = classes.SmallConvNet(in_channels=channels, width=4)
    width = trunk.last_linear.in_features
    trunk.last_linear = nn.Identity()
    assert trunk(torch.zeros(2, channels, 32, 32)).shape == (2, width)
    assert len(trunk.mean) == len(trunk.std) == channels
