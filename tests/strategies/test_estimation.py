import numpy as np
import pytest
import torch
from torch import nn

from pml_incremental.scenarios import TaskSubset
from pml_incremental.strategies import STRATEGIES
from pml_incremental.strategies.estimation import accuracy_ranges
from pml_incremental.strategies.fecd import OracleBank, OracleTeacher, fecd
from pml_incremental.trainers import Teacher


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
