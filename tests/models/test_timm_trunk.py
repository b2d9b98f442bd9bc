import sys

import pytest
import torch

from pml_incremental.models import output_width, timm_trunk


@pytest.mark.parametrize(
    ("name", "width"), [("resnet10t", 512), ("test_vit", 64), ("test_efficientnet", 256)]
)
def test_networks_become_trunks(name, width):
    pytest.importorskip("timm")
    size = 160 if name == "test_vit" else 64
    assert output_width(timm_trunk(name), torch.zeros(1, 3, size, size)) == width


def test_further_arguments_reach_timm():
    pytest.importorskip("timm")
    network = timm_trunk("test_vit", img_size=32)
    assert output_width(network, torch.zeros(1, 3, 32, 32)) == 64


def test_unknown_name_comes_with_near_ones():
    pytest.importorskip("timm")
    message = r"timm has no network 'resnet5O'; did you mean .*resnet50"
    with pytest.raises(ValueError, match=message):
        timm_trunk("resnet5O")
    with pytest.raises(ValueError, match="list_models"):
        timm_trunk("???")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pml-incremental\[timm\]"):
        timm_trunk("resnet18")
