"""Losses on feature maps, in real trainers."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.losses import EmbeddingDistillationLoss
from pml_incremental.models import SmallConvNet, pooled_maps, watched_maps
from pml_incremental.trainers import Probes
from pml_incremental.trainers.training_state import seed_generators


@pytest.fixture
def with_maps(build):
    def make(**options):
        torch.manual_seed(5)
        models = {"trunk": SmallConvNet(1, width=2), "embedder": nn.Linear(8, 6)}
        images = TensorDataset(torch.randn(40, 1, 16, 16), torch.arange(40) % 4)
        return build(
            models=models,
            data=images,
            loss_funcs={
                "metric_loss": TripletMarginLoss(),
                "map_loss": EmbeddingDistillationLoss("l2"),
            },
            loss_weights={"metric_loss": 1, "map_loss": 1},
            compares={"map_loss": "maps"},
            freeze_trunk_batchnorm=True,
            **options,
        )

    return make


def trained(trainer):
    seed_generators(3)
    trainer.train(num_epochs=1)
    return torch.cat([p.detach().flatten() for p in trainer.models["trunk"].parameters()])


def test_the_loss_is_the_distance_between_pooled_maps(with_maps):
    seen = {}

    def keep(trainer):
        seen.setdefault("images", list(trainer.images))
        seen.setdefault("loss", trainer.losses["map_loss"].detach())

    trainer = with_maps(end_of_iteration_hook=keep, iterations_per_epoch=1)
    with torch.no_grad():  # a teacher that is not its student
        for weight in trainer.models["trunk"].parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    student = copy.deepcopy(trainer.models["trunk"]).eval()
    trained(trainer)
    images = torch.stack([trainer.dataset[index][0] for index in seen["images"]])
    pooled = []
    for trunk in (student, trainer.teacher.trunk):
        with watched_maps(trunk) as maps:
            trunk(images)
        pooled.append(pooled_maps(maps))
    expected = (pooled[0] - pooled[1]).norm(dim=1).mean()
    assert expected > 0
    torch.testing.assert_close(seen["loss"], expected.detach())


@pytest.mark.parametrize(
    "options",
    [
        {"turned": 0.5},
        {"probes": {"map_loss": Probes()}},
        {"probes": {"map_loss": Probes(pool=12)}},
    ],
)
def test_maps_of_copies_and_probes_are_compared(with_maps, options):
    assert not torch.equal(trained(with_maps()), trained(with_maps(**options)))


def test_maps_of_a_cached_teacher_are_the_same(with_maps):
    torch.testing.assert_close(trained(with_maps(cache_teacher=True)), trained(with_maps()))


def test_a_trunk_without_maps_learns_where_their_loss_has_no_weight(build):
    losses = {"metric_loss": TripletMarginLoss(), "map_loss": EmbeddingDistillationLoss("l2")}
    options = {"loss_funcs": losses, "compares": {"map_loss": "maps"}}
    trained(build(**options, loss_weights={"metric_loss": 1, "map_loss": 0}))
    with pytest.raises(ValueError, match=r"makes no feature maps.*map_weight: 0"):
        trained(build(**options, loss_weights={"metric_loss": 1, "map_loss": 1}))
