"""Losses on probes, and turned copies as classes of their own, in real trainers."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss, TripletMarginLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import nn

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import NonFiniteLossError, Probes, Teacher

WEIGHTS = {"metric_loss": 1, "correlation_loss": 2, "probe_loss": 3}


@pytest.fixture
def with_probes(build):
    """A trainer with a correlation loss on the batch and one on probes."""

    def make(probes=None, weights=WEIGHTS, **options):
        own = {name: probes or Probes() for name in weights if "probe" in name}
        losses = {name: CorrelationDistillationLoss() for name in own}
        return build(losses=losses, loss_weights=dict(weights), probes=own, **options)

    return make


@pytest.fixture
def weights(train, weights_of):
    """What a trainer has learned."""

    def make(trainer, **options):
        return weights_of(train(trainer, **{"num_epochs": 2, **options}))

    return make


def test_the_loss_compares_student_and_teacher_on_the_probes(with_probes, models):
    seen = []

    def noise(images, generator):
        seen.append(torch.randn(images.shape, generator=generator))
        return seen[-1]

    before = copy.deepcopy(models)
    probes = Probes(noise, share=1.0)
    options = {"iterations_per_epoch": 1, "freeze_trunk_batchnorm": True}
    found = {}
    trainer = with_probes(probes, models=models, **options)
    trainer.end_of_iteration_hook = lambda t: found.update(t.losses)
    trainer.train()
    student = before["embedder"](before["trunk"].eval()(seen[0]))
    targets = trainer.teacher.embed(seen[0])
    expected = 3 * CorrelationDistillationLoss()(student, ref_emb=targets)
    torch.testing.assert_close(found["probe_loss"], expected)


def test_probes_leave_the_batches_and_batchnorm_statistics_alone(with_probes, train):
    order, statistics = [], []
    for weight in (0, 1e-30):
        probes = Probes(lambda images, generator: images + 1000)
        trainer = with_probes(probes, {**WEIGHTS, "probe_loss": weight})
        trainer.end_of_iteration_hook = lambda t: order.append(t.images)
        statistics.append(train(trainer).models["trunk"][2].running_mean)
    assert order[: len(order) // 2] == order[len(order) // 2 :]
    torch.testing.assert_close(*statistics)


@pytest.mark.parametrize(
    "probes", [Probes(), Probes(["warp", "strokes"], share=0.7), Probes(pool=24)]
)
def test_a_resumed_training_ends_the_same_to_the_bit(with_probes, weights, probes, saves):
    whole = weights(with_probes(probes, checkpointer=saves))
    for state in (saves.states[2], saves.states[6]):
        assert torch.equal(whole, weights(with_probes(probes), state=copy.deepcopy(state)))


def test_a_step_that_failed_makes_the_same_probes_again(with_probes, weights, saves):
    class FailsOnce(CorrelationDistillationLoss):
        def forward(self, *args, **kwargs):
            if saves.states and not saves.failures:
                raise OSError("once")
            return super().forward(*args, **kwargs)

    trainer = with_probes(checkpointer=saves)
    trainer.loss_funcs["correlation_loss"] = FailsOnce()
    with pytest.raises(OSError, match="once"):
        weights(trainer)
    state, _ = saves.failures[0]
    assert torch.equal(weights(with_probes()), weights(with_probes(), state=state))


def test_probes_come_from_the_seed(with_probes, weights):
    first, again, other = (weights(with_probes(Probes(seed=seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_losses_with_equal_probes_share_the_images(with_probes):
    sizes = []

    def counted(images, generator):
        sizes.append(len(images))
        return images

    probes = Probes(counted, share=0.5)
    sizes.clear()
    with_probes(probes, {**WEIGHTS, "other_probe_loss": 1}, iterations_per_epoch=1).train()
    assert sizes == [4]


def test_the_teacher_embeds_a_pool_once(with_probes):
    sizes = []

    class Counting(Teacher):
        def embed_with_features(self, images):
            sizes.append(len(images))
            return super().embed_with_features(images)

    trainer = with_probes(Probes(pool=18))
    trainer.teacher = Counting(trainer.teacher.trunk, trainer.teacher.embedder)
    trainer.train(num_epochs=2)
    assert sum(size for size in sizes if size != trainer.batch_size) == 18
    assert len(trainer.probe_pools[0][1].images) == 18


def test_what_is_not_finite_on_probes_is_named_as_probes(with_probes, weights_of):
    def nothing(images, generator):
        return images * torch.nan

    trainer = with_probes(Probes(nothing), freeze_trunk_batchnorm=True)
    before = weights_of(trainer)
    said = r"^probe_loss \(on probes made by .*nothing.* is not finite .* probe_loss = nan"
    with pytest.raises(NonFiniteLossError, match=said) as raised:
        trainer.train()
    assert "metric_loss = nan" not in str(raised.value)
    assert torch.equal(weights_of(trainer), before)


@pytest.mark.parametrize(
    ("options", "zero"),
    [({"accumulation_steps": 2}, False), ({"precision": "bf16"}, False), ({"teacher": None}, True)],
)
def test_without_a_teacher_alone_the_loss_is_zero(with_probes, options, zero):
    losses = []
    trainer = with_probes(**options)
    trainer.end_of_iteration_hook = lambda t: losses.append(float(t.losses["probe_loss"]))
    trainer.train()
    assert [loss == 0 for loss in losses] == [zero] * len(losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"share": 0}, "share must be above 0"), ({"pool": 0}, "pool must be at least 1")],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Probes(**options)


def test_a_batch_that_is_no_images_is_refused():
    with pytest.raises(TypeError, match=r"a floating-point tensor of shape \(N, C, H, W\)"):
        Probes().make(torch.zeros(4, 8), (0,))


def test_each_image_is_taken_once_before_any_is_taken_twice():
    chosen = Probes(share=2.5).choose(8, 8, torch.Generator().manual_seed(0))
    assert len(chosen) == 20
    assert chosen.bincount().min() == 2


def watched(loss):
    """Let a loss note the labels that it is given."""

    def forward(embeddings, labels, *args, **kwargs):
        loss.seen = labels
        return type(loss).forward(loss, embeddings, labels, *args, **kwargs)

    loss.forward = forward
    return loss


def test_metric_and_distillation_losses_see_the_turned_copies(build):
    metric = watched(TripletMarginLoss())
    build(losses={"metric_loss": metric}, turned=0.5, iterations_per_epoch=1).train()
    labels = metric.seen
    assert len(labels) == 12
    assert int((labels < 0).sum()) == 4
    assert (labels[8:] < 0).all()
    originals = labels[:8].tolist()
    classes = [(-1 - label) // 3 for label in labels[8:].tolist()]
    in_part = [c for c in set(classes) if classes.count(c) < originals.count(c)]
    assert set(classes) <= set(originals)
    assert len(in_part) <= 1


def test_the_distillation_losses_compare_copies_with_the_teacher(build, models):
    seen = []

    class Noted(CorrelationDistillationLoss):
        def forward(self, embeddings, labels, ref_emb):
            seen.append((embeddings.detach(), ref_emb))
            return super().forward(embeddings, labels, ref_emb=ref_emb)

    losses = {"correlation_loss": Noted()}
    options = {"teacher": Teacher.snapshot(models), "freeze_trunk_batchnorm": True}
    build(models, turned=1.0, losses=losses, **options).train()
    embeddings, targets = seen[0]
    assert embeddings.shape == targets.shape == (16, 6)
    torch.testing.assert_close(embeddings, targets)


def test_no_copies_is_training_as_before(build, weights):
    before, none, some = (weights(build(**o)) for o in ({}, {"turned": 0.0}, {"turned": 0.5}))
    assert torch.equal(before, none)
    assert not torch.equal(before, some)


def test_training_with_copies_goes_on_to_the_bit(assert_resumes):
    assert_resumes(turned=0.5)


def test_a_cached_teacher_is_asked_for_the_copies_alone(build, weights):
    cached, asked = (weights(build(turned=0.5, cache_teacher=cache)) for cache in (True, False))
    torch.testing.assert_close(cached, asked)


def test_losses_with_weights_for_each_class_see_the_images_as_they_are(build, models):
    metric, miners = watched(ProxyAnchorLoss(4, 6)), {"tuple_miner": MultiSimilarityMiner()}
    build(turned=0.5, losses={"metric_loss": metric}, mining_funcs=miners).train()
    models["classifier"] = nn.Linear(6, 4)
    classes, triplets = watched(nn.CrossEntropyLoss()), watched(TripletMarginLoss())
    losses = {"classifier_loss": classes, "metric_loss": triplets}
    build(models, turned=0.5, losses=losses).train()
    for loss in (metric, classes):
        assert loss.seen.shape == (8,)
        assert loss.seen.min() >= 0
    assert len(triplets.seen) == 12
