import math

import pytest
import torch

from pml_incremental.strategies import STRATEGIES
from pml_incremental.strategies.weight_merging import affinity_change


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


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_share_is_checked(share):
    with pytest.raises(ValueError, match='new_share must be from 0 to 1 or "affinity"'):
        STRATEGIES["merge"](new_share=share)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="momentum must be from 0 to 1, got 2"):
        STRATEGIES["ema-teacher"](momentum=2)
