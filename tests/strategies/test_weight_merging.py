import math

import numpy as np
import pytest
import torch
from torch import nn

from pml_incremental.scenarios import TaskSubset
from pml_incremental.strategies import STRATEGIES, TrainedModel
from pml_incremental.strategies.weight_merging import affinity_change, smallest_share
from pml_incremental.trainers import Teacher


def test_affinity_change_is_that_of_a_naive_loop():
    torch.manual_seed(0)
    old, new = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)

    def affinity(z, i):
        others = [j for j in range(5) if j != i]
        cosines = [torch.cosine_similarity(z[i], z[j], dim=0).item() for j in others]
        total = sum(math.exp(c / 0.5) for c in cosines)
        return [math.exp(c / 0.5) / total for c in cosines]

    expected = [
        sum(abs(a - b) for a, b in zip(affinity(old, i), affinity(new, i), strict=True)) / 2
        for i in range(5)
    ]
    changes = affinity_change(old, new, temperature=0.5)
    torch.testing.assert_close(changes, torch.tensor(expected, dtype=torch.float64))


def test_affinity_change_is_invariant_to_rotation_and_at_most_one():
    z = torch.randn(6, 3)
    rotation = torch.linalg.qr(torch.randn(3, 3)).Q
    assert affinity_change(z, 2 * z @ rotation).max() < 1e-4
    pairs = torch.eye(4).repeat_interleave(2, dim=0)
    assert 0.99 < affinity_change(pairs, pairs.roll(1, dims=0)).max() <= 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("merge", {"new_share": -0.1}, 'new_share must be from 0 to 1 or "affinity"'),
        ("merge", {"new_share": 1.5}, 'new_share must be from 0 to 1 or "affinity"'),
        ("merge", {"new_share": "half"}, 'new_share must be from 0 to 1 or "affinity"'),
        ("merge", {"lose_at_most": -1}, "lose_at_most must be at least 0 percentage points"),
        ("ema-teacher", {"momentum": 2}, "momentum must be from 0 to 1, got 2"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES[name](**options)


class Pairs(list):
    """Two images of each of eight classes, which the first feature alone tells apart."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        labels = np.arange(8).repeat(2)
        noise = torch.randn(16, 2, 1, 1, generator=generator)
        noise[:, 0, 0, 0] = torch.tensor(labels) + 0.01 * noise[:, 0, 0, 0]
        super().__init__(zip(noise, labels.tolist(), strict=True))
        self.labels = labels


def rotation(degrees):
    """A model that sees as much of the second feature as the angle says."""
    angle = math.radians(degrees)
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[math.cos(angle), math.sin(angle)], [1e-6, 1e-6]]))
    return nn.Sequential(nn.Flatten(), layer, Curve())


class Curve(nn.Module):
    """Lays a line on a circle, so that unit vectors keep distances."""

    def forward(self, x):
        angle = x[:, :1] / 10
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def trained(model):
    pairs = Pairs()
    subset = TaskSubset(pairs, np.arange(16), pairs.labels, pairs.labels)
    modules = {"trunk": model, "embedder": nn.Identity()}
    return TrainedModel(modules, list, lambda b: b[0], lambda b: b[0].sum(), subset)


def test_a_dial_of_zero_keeps_all_that_the_new_model_finds():
    new, old = rotation(0), Teacher(rotation(89))
    share, recalls = smallest_share(trained(new), old, loss=0.0)
    assert recalls["1.0"] == 1.0
    assert 0.1 < share < 1
    assert recalls[str(share)] == 1.0
    assert recalls[str(round(share - 0.1, 1))] < 1.0
    shares = [share, *(smallest_share(trained(new), old, loss)[0] for loss in (0.3, 1.0))]
    assert shares == sorted(shares, reverse=True)  # a wider dial takes less of the new weights
    assert shares[0] > shares[-1] == 0.1


def test_the_dial_moves_the_weights_by_its_share_and_reports_it():
    new, old = rotation(0), Teacher(rotation(89))
    (component,) = STRATEGIES["merge"](lose_at_most=5).components
    before = new[1].weight.detach().clone()
    component.after_training(trained(new), old)
    share = component.report()["new_share"]
    assert component.report()["held_share"] == 1  # turned by 89 degrees
    expected = (1 - share) * old.trunk[1].weight + share * before
    torch.testing.assert_close(new[1].weight, expected)
    assert component.report()["recall_at_1_by_new_share"][str(share)] >= 0.95


def test_weights_that_hardly_moved_hardly_go_back():
    new, old = rotation(0), Teacher(rotation(2))
    (component,) = STRATEGIES["merge"](lose_at_most=100).components
    component.after_training(trained(new), old)
    report = component.report()
    moved = 2 * math.sin(math.radians(1))  # of a unit vector turned by 2 degrees
    assert report["held_share"] == pytest.approx(moved / 0.1, rel=1e-3)
    assert report["new_share"] == pytest.approx(1 - 0.9 * moved / 0.1, rel=1e-3)
