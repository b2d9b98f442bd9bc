from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn

from pml_incremental.benchmarker.estimation import connect_bank
from pml_incremental.estimators import EstimatorBank
from pml_incremental.hooks import start_of_task
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.scenarios import TaskSubset
from pml_incremental.strategies import STRATEGIES
from pml_incremental.strategies.estimation import update_bank
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

CPU = torch.device("cpu")


def model(seed):
    torch.manual_seed(seed)
    return Teacher(nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), nn.Linear(6, 3))


class NoisyImages:
    """Each look at an image is another one, as with random transforms."""

    def __init__(self, count=40):
        self.images = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(3))
        self.labels = np.arange(count) % 4

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        return image + 0.1 * torch.randn(image.shape), int(self.labels[index])


def as_task(images):
    return TaskSubset(images, np.arange(len(images)), images.labels, images.labels)


def by_strategy(leaving, coming, images, folder):
    estimation = STRATEGIES["fecd"](estimator="MLPEstimator").components[-1]
    torch.manual_seed(5)
    estimation.before_task(SimpleNamespace(train=as_task(images)), leaving, coming)
    return estimation.bank


def by_hook(leaving, coming, images, folder):
    models = {"trunk": nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), "embedder": nn.Linear(6, 3)}
    trainer = IncrementalMetricLoss(
        models=models,
        teacher=coming,
        optimizers={},
        batch_size=8,
        loss_funcs={"metric_loss": TripletMarginLoss()},
        dataset=images,
        dataloader_num_workers=0,
        data_device=CPU,
    )
    bank = EstimatorBank("MLPEstimator")
    torch.manual_seed(5)
    start_of_task(trainer, bank, leaving, estimator_input="trunk")
    return bank


def by_powerful_benchmarker(leaving, coming, images, folder):
    loss = FeatureEstimationLoss()
    parser = SimpleNamespace(
        args=SimpleNamespace(estimator="MLPEstimator"),
        task_number=3,
        trainer=SimpleNamespace(compares={"estimation_loss": "embeddings_and_trunk"}),
        split_manager=SimpleNamespace(stage=SimpleNamespace(train=as_task(images))),
        previous=SimpleNamespace(teacher=coming),
        device=CPU,
        model_folder=str(folder),
        load_learned=lambda _: SimpleNamespace(teacher=leaving),
    )
    torch.manual_seed(5)
    images_before = images.images.clone()
    connect_bank(parser, "estimation_loss", loss)
    assert torch.equal(images.images, images_before)
    return loss.bank


@pytest.mark.parametrize("entry", [by_hook, by_powerful_benchmarker])
def test_every_entry_point_teaches_the_same_bank(entry, tmp_path):
    leaving, coming, images = model(1), model(2), NoisyImages()
    expected = by_strategy(leaving, coming, images, tmp_path).state_dict()
    found = entry(leaving, coming, images, tmp_path).state_dict()
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found.pop("tensors"), expected.pop("tensors"), rtol=0, atol=0)
    assert found == expected


@pytest.mark.parametrize("estimator_input", ["embeddings", "trunk"])
def test_the_bank_learns_what_the_leaving_model_saw(estimator_input):
    leaving, coming, images = model(1), model(2), NoisyImages(400)
    bank = EstimatorBank("LinearEstimator")
    update_bank(bank, images, leaving, coming, estimator_input=estimator_input)
    embeddings, features = coming.embed_with_features(images.images)
    seen = (
        embeddings if estimator_input == "embeddings" else torch.cat([embeddings, features], dim=1)
    )
    wanted = leaving.embed(images.images)
    assert bank.embedding_width == (3 if estimator_input == "trunk" else None)
    error = (bank.estimate(seen)[0] - wanted).norm() / (embeddings - wanted).norm()
    assert error < 0.9


def test_a_bank_with_a_width_sees_the_trunk():
    bank = EstimatorBank("LinearEstimator", embedding_width=3)
    update_bank(bank, NoisyImages(), model(1), model(2), passes=1)
    assert bank.state_dict()["tensors"]["weight"].shape[-2:] != (3, 3)


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match="needs a trainer with a teacher"):
        start_of_task(SimpleNamespace(teacher=None), EstimatorBank(), model(1))
    bank = EstimatorBank()
    for images, options, message in (
        (NoisyImages(), {"passes": 0}, "passes must be"),
        (NoisyImages(), {"estimator_input": "x"}, "estimator_input must be"),
        (NoisyImages(0), {}, "no image to learn M_1 from"),
    ):
        with pytest.raises(ValueError, match=message):
            update_bank(bank, images, model(1), model(2), **options)
    assert len(bank) == 0
