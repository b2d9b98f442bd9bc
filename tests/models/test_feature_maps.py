"""Maps that trunks make on their way."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from pml_incremental.models import SmallConvNet, compiled, pooled_maps, watched_maps


def seen(trunk, images):
    with watched_maps(trunk) as maps:
        trunk(images)
    return maps


def test_a_residual_network_shows_its_stages():
    trunk, stages = resnet18().eval(), {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        getattr(trunk, name).register_forward_hook(
            lambda _m, _i, output, name=name: stages.update({name: output})
        )
    found = seen(trunk, torch.randn(2, 3, 64, 64))
    shapes = [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert [tuple(one.shape[1:]) for one in found[1:]] == shapes
    assert all(torch.equal(a, b) for a, b in zip(found[1:], stages.values(), strict=True))


def test_tokens_are_maps_too_no_hook_stays_behind_and_none_are_refused():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert [tuple(one.shape) for one in seen(layer, torch.randn(2, 5, 8))] == [(2, 5, 8)]
    assert not any(module._forward_hooks for module in layer.modules())
    with pytest.raises(ValueError, match=r"Sequential makes no feature maps.*map_weight: 0"):
        seen(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))


def test_a_compiled_trunk_shows_the_same_maps():
    trunk, images = SmallConvNet(1, width=4), torch.randn(4, 1, 16, 16)
    expected = seen(trunk.eval(), images)
    with compiled(trunk, backend="eager"):
        for _ in range(2):
            found = seen(trunk, images)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_pooling_is_that_of_a_naive_loop():
    maps = [torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.randn(3, 6, 7).double()]
    rows = []
    for image in range(3):
        grid, tokens = (found[image] ** 2 for found in maps)
        profiles = [
            torch.stack([grid[c, :, w].sum() for c in range(2) for w in range(5)]),
            torch.stack([grid[c, h].sum() for c in range(2) for h in range(4)]),
            tokens.sum(0),
            tokens.sum(1),
        ]
        rows.append(torch.cat([profile / profile.norm() for profile in profiles]) / 2)
    torch.testing.assert_close(pooled_maps(maps), torch.stack(rows))
    torch.testing.assert_close(pooled_maps(maps).norm(dim=1), torch.ones(3).double())

    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pooled_maps([x]), x)
