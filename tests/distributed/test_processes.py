import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.distributed import Processes, share_batchnorm
from pml_incremental.distributed.processes import share_of_images
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import IncrementalMetricLoss

SEVERAL = Processes(0, 3)


@pytest.mark.parametrize("images", [1, 3, 7, 24, 25])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_of_images_are_whole_batches_in_order(images, processes):
    shares = [share_of_images(images, 3, Processes(rank, processes)) for rank in range(processes)]
    assert [position for share in shares for position in share] == list(range(images))
    assert all(share.start % 3 == 0 or share.start == images for share in shares)
    batches = [-(-len(share) // 3) for share in shares]
    assert batches[0] >= 1
    assert max(batches) - min(batches) <= 1


def test_batch_that_cannot_be_shared_evenly():
    with pytest.raises(ValueError, match=r"a batch of 80 images .* one of 78 or 81"):
        SEVERAL.share(range(80))
    with pytest.raises(ValueError, match="make it one of 3, or start"):
        SEVERAL.share(range(2))


def test_what_takes_images_away_or_is_for_one_process_is_refused():
    trunk = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="use a tuple_miner, or one process"):
        IncrementalMetricLoss(
            models={"trunk": trunk},
            optimizers={"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=0.1)},
            batch_size=3,
            loss_funcs={"metric_loss": TripletMarginLoss()},
            mining_funcs={"subset_batch_miner": BatchHardMiner()},
            dataset=TensorDataset(torch.zeros(3, 2), torch.arange(3)),
            processes=SEVERAL,
        )
    tester = IncrementalTester(dataloader_num_workers=0, processes=SEVERAL)
    with pytest.raises(ValueError, match="use evaluate"):
        tester.test({}, 1, nn.Identity())


class WithActivation(nn.BatchNorm2d):
    pass


def test_shared_batchnorm_alone_is_batchnorm_and_other_kinds_are_refused():
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3)
    shared = nn.BatchNorm2d(3)
    share_batchnorm(shared, torch.device("cpu"))
    for training in (True, False):
        images = torch.randn(4, 3, 2, 2)
        assert torch.equal(shared.train(training)(images), plain.train(training)(images))
    assert torch.equal(shared.running_var, plain.running_var)
    with pytest.raises(ValueError, match="shape"):
        shared(torch.zeros(3))
    with pytest.raises(ValueError, match=r"of class WithActivation, .* set sync_batchnorm: false"):
        share_batchnorm(nn.Sequential(WithActivation(2)), torch.device("cpu"))
