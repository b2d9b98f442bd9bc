"""Losses on probes, in real trainers."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import Probes, Teacher
from pml_incremental.trainers.training_state import seed_generators

WEIGHTS = {"metric_loss": 1, "correlation_loss": 2, "probe_loss": 3}


@pytest.fixture
def with_probes(build):
    """A trainer with a correlation loss on the batch and one on probes."""

    def make(probes=None, weights=WEIGHTS, **options):
        losses = {name: CorrelationDistillationLoss() for name in weights if name != "metric_loss"}
        losses["metric_loss"] = TripletMarginLoss()
        own = {name: probes or Probes() for name in losses if "probe" in name}
        return build(loss_funcs=losses, loss_weights=dict(weights), probes=own, **options)

    return make


def trained(trainer, epochs=2, state=None):
    seed_generators(3)
    trainer.train(num_epochs=epochs, state=state)
    return {name: model.state_dict() for name, model in trainer.models.items()}


def equal(first, second):
    return all(
        torch.equal(a, b)
        for name in first
        for a, b in zip(first[name].values(), second[name].values(), strict=True)
    )


def test_the_loss_compares_student_and_teacher_on_the_probes(with_probes, models):
    seen = {}

    def noise(images, generator):
        seen["images"] = torch.randn(images.shape, generator=generator)
        return seen["images"]

    def keep(trainer):
        seen.setdefault("loss", trainer.losses["probe_loss"])

    before = copy.deepcopy(models)
    trainer = with_probes(
        Probes(noise, share=1.0),
        models=models,
        end_of_iteration_hook=keep,
        iterations_per_epoch=1,
        freeze_trunk_batchnorm=True,
    )
    trained(trainer, epochs=1)
    student = before["embedder"](before["trunk"].eval()(seen["images"]))
    targets = trainer.teacher.embed(seen["images"])
    expected = 3 * CorrelationDistillationLoss()(student, ref_emb=targets)
    torch.testing.assert_close(seen["loss"], expected)


def test_probes_leave_the_batches_and_batchnorm_statistics_alone(with_probes):
    def huge(images, generator):
        return images + 1000

    order, statistics = [], []
    for weight in (0, 1e-30):
        trainer = with_probes(
            Probes(huge),
            {**WEIGHTS, "probe_loss": weight},
            end_of_iteration_hook=lambda t: order.append(t.images),
        )
        trained(trainer, epochs=1)
        statistics.append(trainer.models["trunk"][2].running_mean)
    assert order[: len(order) // 2] == order[len(order) // 2 :]
    torch.testing.assert_close(*statistics)


@pytest.mark.parametrize(
    "probes", [Probes(), Probes(["warp", "strokes"], share=0.7), Probes(pool=24)]
)
def test_a_resumed_training_ends_the_same_to_the_bit(with_probes, probes, saves):
    whole = trained(with_probes(probes, checkpointer=saves))
    for state in (saves.states[2], saves.states[6]):
        resumed = with_probes(probes)
        torch.rand(17)
        assert equal(whole, trained(resumed, state=copy.deepcopy(state)))


def test_a_step_that_failed_makes_the_same_probes_again(with_probes, saves):
    class FailsOnce(CorrelationDistillationLoss):
        def forward(self, *args, **kwargs):
            if saves.states and not saves.failures:
                raise OSError("once")
            return super().forward(*args, **kwargs)

    trainer = with_probes(checkpointer=saves)
    trainer.loss_funcs["correlation_loss"] = FailsOnce()
    with pytest.raises(OSError, match="once"):
        trained(trainer)
    state, _ = saves.failures[0]
    assert equal(trained(with_probes()), trained(with_probes(), state=state))


def test_probes_come_from_the_seed(with_probes):
    weights = [trained(with_probes(Probes(seed=seed))) for seed in (0, 0, 1)]
    assert equal(weights[0], weights[1])
    assert not equal(weights[0], weights[2])


def test_losses_with_equal_probes_share_the_images(with_probes):
    sizes = []

    def counted(images, generator):
        sizes.append(len(images))
        return images

    probes = Probes(counted, share=0.5)
    sizes.clear()
    trainer = with_probes(probes, {**WEIGHTS, "other_probe_loss": 1}, iterations_per_epoch=1)
    trained(trainer, epochs=1)
    assert sizes == [4]


def test_the_teacher_embeds_a_pool_once(with_probes):
    sizes = []

    class Counting(Teacher):
        def embed_with_features(self, images):
            sizes.append(len(images))
            return super().embed_with_features(images)

    trainer = with_probes(Probes(pool=18))
    trainer.teacher = Counting(trainer.teacher.trunk, trainer.teacher.embedder)
    trained(trainer)
    assert sum(size for size in sizes if size != trainer.batch_size) == 18
    assert len(trainer.probe_pools[0][1].images) == 18


@pytest.mark.parametrize("options", [{"accumulation_steps": 2}, {"precision": "bf16"}])
def test_accumulation_and_half_precision_take_probes(with_probes, options):
    losses = []
    trainer = with_probes(
        end_of_iteration_hook=lambda t: losses.append(float(t.losses["probe_loss"].detach())),
        **options,
    )
    trained(trainer, epochs=1)
    assert min(losses) > 0


def test_without_a_teacher_the_loss_is_zero(with_probes):
    losses = []
    trainer = with_probes(
        teacher=None, end_of_iteration_hook=lambda t: losses.append(t.losses["probe_loss"])
    )
    trained(trainer, epochs=1)
    assert set(losses) == {0}


def test_probes_for_no_distillation_loss_are_refused(build):
    with pytest.raises(ValueError, match="probes are given for metric_loss, which is not a dist"):
        build(probes={"metric_loss": Probes()})


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
    generator = torch.Generator().manual_seed(0)
    chosen = Probes(share=2.5).choose(8, 8, generator)
    assert len(chosen) == 20
    assert chosen.bincount().min() == 2
