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
from pml_incremental.strategies.estimation import accuracy_ranges, update_bank
from pml_incremental.strategies.fecd import OracleBank, OracleTeacher, fecd
from pml_incremental.trainers import IncrementalMetricLoss, Teacher


def rows(*values):
    names = "own/recall_at_1", [f"task_{j}" for j in range(1, 1 + len(values[0]))]
    return [{names[0]: dict(zip(names[1], row, strict=True))} for row in values]


def teacher(seed):
    torch.manual_seed(seed)
    return Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 6)), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("measured", "fixed", "expected"),
    [
        # Since model 1: -0.3, +0.3, +0.8; since model 2: -0.1, -0.3, +0.7.
        (
            rows([0.1, 0.1, 0.1], [0.9, 0.2, 0.1], [0.7, 0.8, 0.2], [0.6, 0.5, 0.9]),
            None,
            {1: (-0.3, 0.8), 2: (-0.3, 0.7)},
        ),
        # Tasks not learned yet do not count.
        (rows([0.1, 0.1, 0.0], [0.9, 0.2, 0.0], [0.7, 0.8, 1.0]), None, {1: (-0.2, 0.6)}),
        (rows([0.0, 0.0], [0.5, 0.1], [0.4, 0.6]), (-0.1, 0.2), {1: (-0.1, 0.2)}),
    ],
)
def test_ranges_are_extreme_changes_over_the_tasks_so_far(measured, fixed, expected):
    found = accuracy_ranges(measured, fixed)
    assert found.keys() == expected.keys()
    assert all(found[k] == pytest.approx(expected[k]) for k in found)


def test_oracle_gives_the_embeddings_of_the_real_models_in_order():
    priors = [teacher(1), teacher(2)]
    last = teacher(3)
    images = torch.randn(5, 1, 2, 2)
    embeddings, features = OracleTeacher(last, priors).embed_with_features(images)
    torch.testing.assert_close(embeddings, last.embed(images))
    estimates = OracleBank(priors).estimate(torch.cat([embeddings, features], dim=1))
    assert estimates.shape == (2, 5, 3)
    for estimate, prior in zip(estimates, priors, strict=True):
        torch.testing.assert_close(estimate, prior.embed(images))


def test_oracle_without_prior_models_is_inactive():
    images = torch.randn(5, 1, 2, 2)
    _, component = STRATEGIES["fecd-oracle"]().components
    beside = component.before_task(None, None, teacher(0))
    embeddings, features = beside.embed_with_features(images)
    student = torch.randn(5, 3, requires_grad=True)
    weighted = component.losses(None)["estimation_loss"]
    loss = weighted.loss(student, ref_emb=torch.cat([embeddings, features], dim=1))
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.1}, "give both low and high"),
        ({"high": 0.1}, "give both low and high"),
        ({"estimation_weight": -1}, "weight of estimation_loss must be at least 0, got -1"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"estimator_images": "old"}, "estimator_images must be"),
        ({"estimator_input": "pixels"}, "estimator_input must be"),
        ({"estimator": "LinaerEstimator"}, "LinearEstimator"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["fecd"](**options)


class Noted(Teacher):
    """Notes the images it embeds."""

    def embed_with_features(self, images):
        self.seen = [*getattr(self, "seen", []), images]
        return super().embed_with_features(images)


def test_the_bank_learns_from_the_same_probes_of_both_models_too():
    images, labels = torch.randn(12, 1, 8, 8), np.arange(12) % 3
    dataset = list(zip(images, labels.tolist(), strict=True))
    subset = TaskSubset(dataset, np.arange(12), labels, labels)
    layers = [(nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), nn.Linear(6, 3)) for _ in range(2)]
    models = [Noted(*parts) for parts in layers]
    estimation = STRATEGIES["fecd"](passes=1, probes="warp").components[-1]
    estimation.update_bank(subset, *models)
    leaving, coming = (torch.cat(model.seen) for model in models)
    assert len(leaving) == 24
    assert torch.equal(leaving, coming)
    rows = {tuple(image.flatten().tolist()) for image in images}
    assert sum(tuple(image.flatten().tolist()) in rows for image in leaving) == 12


def test_estimates_are_compared_on_probes_too():
    losses = STRATEGIES["fecd"](probes={"images": "strokes", "weight": 3}).components
    found = {name: part for component in losses for name, part in component.losses(None).items()}
    on_probes = {name for name, part in found.items() if part.probes is not None}
    assert on_probes == {"probe_correlation_loss", "probe_estimation_loss"}
    assert found["probe_correlation_loss"].weight == 3
    assert found["probe_estimation_loss"].weight == found["estimation_loss"].weight


def test_former_names_work_with_a_warning():
    with pytest.warns(FutureWarning, match="sees is now called estimator_input"):
        former = fecd(sees="embeddings").components[-1]
    with pytest.warns(FutureWarning, match="observed_on is now called estimator_images"):
        assert fecd(observed_on="finished").components[-1].estimator_images == "finished"
    assert (former.estimator_input, former.compares) == ("embeddings", "embeddings")
    assert fecd().components[-1].compares == "embeddings_and_trunk"


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
