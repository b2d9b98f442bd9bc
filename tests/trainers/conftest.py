"""Small trainers, and what they left."""

import copy

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import (
    IncrementalMetricLoss,
    IncrementalTrainWithClassifier,
    Teacher,
)
from pml_incremental.trainers.incremental_mixin import IncrementalMixin


def _models():
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU())
    return {"trunk": trunk, "embedder": nn.Linear(12, 6)}


def _images(count=40):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    return TensorDataset(torch.randn(count, 1, 4, 4, generator=generator), labels)


@pytest.fixture
def models():
    return _models()


@pytest.fixture
def images():
    return _images()


@pytest.fixture
def build():
    """A trainer with a teacher that is not its student; `losses` come beside or instead of ours."""

    def make(models=None, data=None, trainer_class=None, lr=0.05, losses=(), **options):
        torch.manual_seed(2)
        models, data = models or _models(), data or _images()
        loss_funcs = {"metric_loss": TripletMarginLoss()}
        loss_funcs["correlation_loss"] = CorrelationDistillationLoss()
        chosen = IncrementalMetricLoss
        if "classifier" in models:
            chosen = IncrementalTrainWithClassifier
            loss_funcs["classifier_loss"] = nn.CrossEntropyLoss()
        chosen = trainer_class or chosen
        if "teacher" not in options and issubclass(chosen, IncrementalMixin):
            teacher = Teacher.snapshot(models)
            with torch.no_grad():
                teacher.embedder.weight.normal_()
            options["teacher"] = teacher
        if issubclass(chosen, IncrementalMixin):
            options.setdefault("progress", False)
        sampler = MPerClassSampler(
            [int(label) for _, label in data], 2, 8, length_before_new_iter=40
        )
        arguments = {
            "models": models,
            "optimizers": {
                f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr, momentum=0.9)
                for name, model in models.items()
                if list(model.parameters())
            },
            "loss_funcs": loss_funcs | dict(losses),
            "batch_size": 8,
            "dataset": data,
            "sampler": sampler,
            "dataloader_num_workers": 0,
            "data_device": torch.device("cpu"),
        }
        return chosen(**{**arguments, **options})

    return make


class Saves:
    """A checkpointer that keeps a copy of the state after every iteration."""

    def __init__(self):
        self.states = []
        self.failures = []

    def after_iteration(self, trainer):
        self.states.append(copy.deepcopy(trainer.state_dict()))

    def after_epoch(self, trainer):
        pass

    def after_failure(self, trainer, error):
        self.failures.append((copy.deepcopy(trainer.state_dict()), error))


@pytest.fixture
def saves():
    return Saves()


@pytest.fixture
def train():
    """Train with the same batches each time."""

    def seeded(trainer, **options):
        torch.manual_seed(3)
        np.random.seed(3)
        trainer.train(**options)
        return trainer

    return seeded


@pytest.fixture
def weights_of():
    """All weights and buffers of a trainer's models, in one vector."""

    def collect(trainer):
        states = [model.state_dict().values() for model in trainer.models.values()]
        return torch.cat([value.flatten().double() for state in states for value in state])

    return collect


@pytest.fixture
def assert_resumes(build, train, saves, weights_of):
    """Training that goes on from any iteration ends as if it had not been interrupted."""

    def check(epochs=2, **options):
        whole = train(build(checkpointer=saves, **options), num_epochs=epochs)
        for state in saves.states:
            resumed = build(**options)
            resumed.train(num_epochs=epochs, state=copy.deepcopy(state))
            place = state["epoch"], state["iterations"]
            assert torch.equal(weights_of(resumed), weights_of(whole)), place
        return whole

    return check
