"""Estimates against real models, without a run."""

import pytest
import torch
from torch import nn

from pml_incremental.estimators import EstimatorBank
from pml_incremental.experiment.diagnosis.bank_replay import (
    Candidate,
    EmbeddedTask,
    embed_task,
    equal_parts,
    mean_quality,
)
from pml_incremental.metrics import correlation_divergence, off_diagonal_correlation
from pml_incremental.trainers import Teacher


def features(seed, rows=40, width=4):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def embedded():
    """Three real prior models, the oldest farthest from the teacher."""
    teacher = features(0, width=7)
    priors = torch.stack([teacher[:, :4] + (3 - k) * 0.3 * features(k + 1) for k in range(3)])
    return EmbeddedTask(teacher, priors, list(equal_parts(40, 20, seed=0)))


def exact(embedded):
    """A candidate that finds out which images it is asked about and answers with the truth."""

    def estimate(asked):
        places = [int((embedded.embeddings == row).all(dim=1).nonzero()) for row in asked]
        return embedded.priors[:, places]

    return Candidate("exact", "new", estimate, False, 0)


def test_exact_estimates_have_no_error(embedded):
    for quality in embedded.qualities(exact(embedded)):
        assert quality.divergence == 0
        assert quality.correlation == pytest.approx(1, abs=1e-12)


def test_the_teacher_in_place_of_older_models_is_worse(embedded):
    found = embedded.qualities(Candidate.of_teacher(3))
    assert found[0].divergence > found[1].divergence > found[2].divergence > 0
    assert found[0].correlation < found[1].correlation < found[2].correlation < 1


def test_each_model_is_compared_with_its_own_estimate(embedded):
    for k, quality in enumerate(embedded.qualities(Candidate.of_teacher(3))):
        pairs = [(embedded.embeddings[b], embedded.priors[k][b]) for b in embedded.batches]
        divergences = [correlation_divergence(*pair).mean().item() for pair in pairs]
        correlations = [off_diagonal_correlation(*pair).item() for pair in pairs]
        assert quality.divergence == pytest.approx(sum(divergences) / 2)
        assert quality.correlation == pytest.approx(sum(correlations) / 2)


def test_images_count_equally_in_batches_of_unequal_length():
    z, other = features(0, rows=10), features(1, rows=10)
    quality = mean_quality([z[:6], z[6:]], [other[:6], other[6:]])
    parts = [correlation_divergence(z[a:b], other[a:b]) for a, b in ((0, 6), (6, 10))]
    assert quality.divergence == pytest.approx(torch.cat(parts).mean().item())


def test_a_bank_that_takes_the_trunks_output_is_given_it(embedded):
    bank = EstimatorBank({"LinearEstimator": {"ridge": 1e-9}}, embedding_width=4)
    prior = embedded.teacher[:, 3:]  # to be had from the trunk's output only
    bank.update([(prior, embedded.teacher)])
    candidate = Candidate.of_bank("linear", "new", bank)
    task = EmbeddedTask(embedded.teacher, prior.unsqueeze(0), embedded.batches)
    assert candidate.sees_trunk
    assert task.qualities(candidate)[0].divergence < 1e-9
    teacher = embedded.embeddings
    task = EmbeddedTask(embedded.teacher, torch.stack([3 * teacher, teacher]), embedded.batches)
    assert task.drifts() == pytest.approx([2, 0])  # relative to the teacher


@pytest.mark.parametrize(("count", "size", "parts"), [(100, 30, 3), (10, 80, 1), (7, 2, 4)])
def test_batches_take_every_image_once(count, size, parts):
    found = list(equal_parts(count, size, seed=3))
    assert len(found) == parts
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert sorted(torch.cat(found).tolist()) == list(range(count))
    assert torch.equal(torch.cat(found), torch.cat(list(equal_parts(count, size, seed=3))))


def test_all_models_see_the_same_images():
    images = [(torch.randn(1, 2, 2), 0) for _ in range(130)]  # more than one batch
    models = [
        Teacher(nn.Flatten(), nn.Linear(4, 3)),
        Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 5)), nn.Linear(5, 3)),
    ]
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    found = embed_task(images, teacher, models, batch_size=65, seed=0)
    batch = torch.stack([image for image, _ in images])
    torch.testing.assert_close(found.embeddings, teacher.embed(batch))
    for prior, model in zip(found.priors, models, strict=True):
        torch.testing.assert_close(prior, model.embed(batch))
    assert [len(part) for part in found.batches] == [65, 65]
