import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from pml_incremental.models import (
    GrowingClassifier,
    SmallConvNet,
    compiled,
    copy_leading_block,
    move_towards,
    pooled_maps,
    watched_maps,
    weight_change,
)


def test_it_is_the_mean_over_layers_of_a_naive_loop():
    torch.manual_seed(0)
    old = {"trunk": SmallConvNet(1, width=4), "embedder": nn.Linear(16, 3)}
    new = {"trunk": SmallConvNet(1, width=4), "embedder": nn.Linear(16, 3), "classifier": nn.ReLU()}
    changes = [
        ((after - before).norm() / before.norm()).item()
        for name, model in old.items()
        for before, after in zip(model.parameters(), new[name].parameters(), strict=True)
        if before.ndim > 1
    ]
    assert len(changes) == 5
    assert weight_change(new, old).item() == pytest.approx(sum(changes) / 5)


def test_it_is_zero_at_equality_and_does_not_depend_on_a_layers_scale():
    old = {"trunk": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))}
    new = copy.deepcopy(old)
    assert weight_change(new, old) == 0
    with torch.no_grad():
        new["trunk"][0].weight *= 1.2
    expected = weight_change(new, old)
    with torch.no_grad():
        for models in (old, new):
            models["trunk"][1].weight *= 100
    torch.testing.assert_close(weight_change(new, old), expected)
    torch.testing.assert_close(expected, torch.tensor(0.1))


def test_zero_layers_and_models_without_weights_are_unchanged_and_other_shapes_refused():
    old = {"trunk": nn.Linear(2, 2)}
    new = copy.deepcopy(old)
    nn.init.zeros_(old["trunk"].weight)
    assert weight_change(new, old) == 0
    assert weight_change({"trunk": nn.ReLU()}, {"trunk": nn.ReLU()}) == 0
    with pytest.raises(ValueError, match=r"trunk.weight has shape \(2, 3\) and had \(2, 2\)"):
        weight_change({"trunk": nn.Linear(3, 2)}, {"trunk": nn.Linear(2, 2)})


def test_statistics_move_and_counters_stay():
    target, source = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source.running_mean += 4
    source.num_batches_tracked += 7
    move_towards(target, source, 0.25)
    assert target.running_mean.tolist() == [1, 1]
    assert target.num_batches_tracked == 0


@pytest.mark.parametrize(("ours", "theirs"), [(2, 3), (3, 2)])
def test_grown_classifiers_share_their_leading_block(ours, theirs):
    target, source = GrowingClassifier(4, ours), GrowingClassifier(4, theirs)
    before = target.weight.detach().clone()
    move_towards(target, source, 1.0)
    assert torch.equal(target.weight[:2], source.weight[:2])
    assert torch.equal(target.weight[2:], before[2:])


def test_bad_input():
    with pytest.raises(ValueError, match="share must be from 0 to 1, got -1"):
        move_towards(nn.Linear(1, 1), nn.Linear(1, 1), -1)
    with pytest.raises(ValueError, match="Identity has no weight"):
        move_towards(nn.Linear(1, 1), nn.Identity(), 0.5)


@pytest.mark.parametrize(("old", "new"), [((4, 2), (4, 3)), ((4, 2), (6, 2)), ((4, 2), (4, 2))])
def test_the_old_fills_the_first_rows_and_columns(old, new):
    small, large = nn.Linear(*old), nn.Linear(*new)
    before = large.weight.detach().clone()
    copy_leading_block(small, large)
    rows, columns = small.weight.shape
    assert torch.equal(large.weight[:rows, :columns], small.weight)
    assert torch.equal(large.weight[rows:], before[rows:])
    assert torch.equal(large.weight[:, columns:], before[:, columns:])
    assert torch.equal(large.bias[:rows], small.bias)


@pytest.mark.parametrize(
    ("new", "found"),
    [(nn.Linear(4, 1), r"\(1, 4\)"), (nn.Linear(3, 3), r"\(3, 3\)"), (nn.ReLU(), "nothing of")],
)
def test_what_does_not_fit_is_named(new, found):
    with pytest.raises(ValueError, match=rf"weight of shape \(2, 4\) does not fit into {found}"):
        copy_leading_block(nn.Linear(4, 2), new)


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
