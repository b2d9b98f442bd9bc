"""Networks in half precision, everything else in float32."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn

from pml_incremental.models import GrowingClassifier
from pml_incremental.trainers import (
    IncrementalTrainWithClassifier,
    NonFiniteLossError,
    Teacher,
)

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Watched(TripletMarginLoss):
    """Notes what it is given."""

    def forward(self, embeddings, *arguments, **kwargs):
        self.seen = embeddings.detach().clone()
        self.in_autocast = torch.is_autocast_enabled("cpu")
        return super().forward(embeddings, *arguments, **kwargs)


class Explode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf


class ExplodingLoss(TripletMarginLoss):
    """Finite, with a gradient that is not."""

    def forward(self, embeddings, *arguments, **kwargs):
        return super().forward(Explode.apply(embeddings), *arguments, **kwargs)


class LimitedLoss(TripletMarginLoss):
    """Its gradient overflows where the loss was scaled by more than a limit."""

    limit = 2.0**13

    def forward(self, embeddings, *arguments, **kwargs):
        limit = self.limit

        class Limit(torch.autograd.Function):
            @staticmethod
            def forward(ctx, loss):
                return loss.clone()

            @staticmethod
            def backward(ctx, gradient):
                return gradient * (torch.inf if gradient.abs() > limit else 1.0)

        return Limit.apply(super().forward(embeddings, *arguments, **kwargs))


def replaced(metric_loss):
    from pml_incremental.losses import CorrelationDistillationLoss

    return {"metric_loss": metric_loss, "correlation_loss": CorrelationDistillationLoss()}


@pytest.mark.parametrize("precision", TYPES)
def test_networks_compute_in_half_precision_and_losses_in_float32(build, models, precision):
    found = []
    models["embedder"].register_forward_hook(lambda *call: found.append(call[-1].dtype))
    loss = Watched()
    trainer = build(models, precision=precision, loss_funcs=replaced(loss))
    trainer.train()
    assert set(found) == {TYPES[precision]}
    assert loss.seen.dtype == torch.float32
    assert not loss.in_autocast
    for model in models.values():
        assert all(p.dtype == torch.float32 for p in model.parameters())


def test_fp32_is_what_it_was_to_the_bit(build, train, weights_of):
    first, second = (weights_of(train(build(**options))) for options in ({}, {"precision": "fp32"}))
    assert all(torch.equal(first[key], value) for key, value in second.items())


@pytest.mark.parametrize(("precision", "rounding"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_gradients_are_those_of_float32_up_to_rounding(build, train, precision, rounding):
    """Unscaled when they are clipped, whatever the scale."""
    gradients = []
    for chosen in ("fp32", precision):
        trainer = build(precision=chosen, iterations_per_epoch=1, lr=0.0)
        trainer.scaling.scaler.update(1024.0)  # with which no step is left out
        weight = trainer.models["embedder"].weight
        trainer.gradient_clippers = {"embedder": lambda w=weight: gradients.append(w.grad.clone())}
        train(trainer)
    difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 0 < difference < 30 * rounding


def test_teacher_has_a_precision_of_its_own(build):
    teacher_outputs = {}
    for precision in (None, "fp32"):
        trainer = build(precision="bf16", teacher_precision=precision)
        images = trainer.dataset.tensors[0]
        found = trainer.teacher_outputs(images, trainer.wanted_losses()).embeddings
        assert found.dtype == torch.float32
        teacher_outputs[precision] = found
    exact = trainer.teacher.embed(images)
    assert torch.equal(teacher_outputs["fp32"], exact)
    assert not torch.equal(teacher_outputs[None], exact)
    torch.testing.assert_close(teacher_outputs[None], exact, rtol=0.05, atol=0.05)


def test_classifier_logits_are_float32(build, models):
    models["classifier"] = GrowingClassifier(6, 4)
    seen = []

    class Loss(nn.CrossEntropyLoss):
        def forward(self, logits, labels):
            seen.append(logits.dtype)
            return super().forward(logits, labels)

    trainer = build(
        models,
        trainer_class=IncrementalTrainWithClassifier,
        loss_funcs={**replaced(TripletMarginLoss()), "classifier_loss": Loss()},
        precision="bf16",
    )
    trainer.train()
    assert set(seen) == {torch.float32}


def test_scale_that_is_too_high_leaves_steps_out_and_is_no_error(build, weights_of):
    seen = []

    class Observer:
        def before_step(self, modules):
            seen.append("before")
            assert all(p.grad.isfinite().all() for p in modules["embedder"].parameters())

        def after_step(self, modules, teacher):
            seen.append("after")

    trainer = build(precision="fp16", loss_funcs=replaced(LimitedLoss()), observers=[Observer()])
    optimizer = trainer.optimizers["trunk_optimizer"]
    trainer.lr_schedulers = {
        "trunk_scheduler_by_iteration": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    }
    before = {key: value for key, value in weights_of(trainer).items() if "weight" in key}
    trainer.iterations_per_epoch = 3
    trainer.train()  # 2^16, 2^15 and 2^14 are too much
    assert trainer.scaling.skipped_steps == 3
    assert not seen
    after = weights_of(trainer)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert optimizer.param_groups[0]["lr"] == 0.05
    trainer.train(start_epoch=2, num_epochs=2)
    assert trainer.scaling.skipped_steps == 3
    assert trainer.scaling.scaler.get_scale() == 2.0**13
    assert seen == ["before", "after"] * 3
    assert optimizer.param_groups[0]["lr"] == 0.05 / 8
    assert trainer.skipped_batches == 0
    assert not torch.equal(weights_of(trainer)["embedder.weight"], before["embedder.weight"])


def test_gradient_that_no_scale_makes_finite_stops(build):
    trainer = build(precision="fp16", loss_funcs=replaced(ExplodingLoss()), iterations_per_epoch=50)
    with pytest.raises(NonFiniteLossError, match="the gradient of trunk"):
        trainer.train()
    assert trainer.scaling.skipped_steps == 16
    assert trainer.scaling.scaler.get_scale() == 1


def test_loss_that_is_not_finite_stops_at_once_whatever_the_scale(build, saves):
    trainer = build(precision="fp16", checkpointer=saves)
    trainer.dataset.tensors[0][:] = torch.nan
    with pytest.raises(NonFiniteLossError, match="epoch 1, iteration 1 of 5"):
        trainer.train()
    ((state, _),) = saves.failures
    assert state["scaling"] == build(precision="fp16").scaling.state_dict()


def test_skipped_batches_leave_the_scale_alone(build, images):
    images.tensors[0][3] = torch.nan
    trainer = build(data=images, precision="fp16", on_non_finite="skip")
    trainer.scaling.scaler.update(1024.0)
    trainer.train(num_epochs=4)
    assert trainer.skipped_batches > 0
    assert trainer.scaling.skipped_steps == 0
    assert trainer.scaling.scaler.get_scale() == 1024.0


@pytest.mark.parametrize("precision", TYPES)
def test_training_goes_on_to_the_bit(assert_resumes, precision):
    options = {"loss_funcs": replaced(LimitedLoss())} if precision == "fp16" else {}
    trainer = assert_resumes(precision=precision, **options)
    assert trainer.scaling.skipped_steps == (3 if precision == "fp16" else 0)


def test_state_of_earlier_versions_is_read(build, saves):
    build(checkpointer=saves).train()
    state = copy.deepcopy(saves.states[0])
    del state["scaling"]
    build().train(state=state)


def test_others_are_refused(build):
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, fp16, got 'half'"):
        build(precision="half")
    with pytest.raises(ValueError, match="precision must be one of"):
        build(teacher_precision="tf32")


def test_student_learns_in_half_precision(build, models):
    teacher = Teacher.snapshot(models)
    trainer = build(models, teacher=teacher, precision="bf16", lr=0.02)
    trainer.loss_weights = {"metric_loss": 1, "correlation_loss": 1}
    images, labels = trainer.dataset.tensors
    loss = TripletMarginLoss()

    def loss_now():
        with torch.no_grad():
            return float(loss(models["embedder"](models["trunk"](images)), labels))

    before = loss_now()
    trainer.train(num_epochs=10)
    assert loss_now() < 0.8 * before
