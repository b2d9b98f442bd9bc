import pytest
import torch
from torch import nn

from pml_incremental.models import GrowingClassifier, move_towards


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
