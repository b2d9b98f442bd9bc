"""Networks in half precision, everything else in float32; losses that are not finite."""

import copy
import logging

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import TensorDataset

from pml_incremental.models import GrowingClassifier
from pml_incremental.trainers import NonFiniteLossError

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Watched(TripletMarginLoss):
    """Notes what it is given."""

    def forward(self, embeddings, *arguments, **kwargs):
        self.seen = embeddings.detach().clone()
        self.in_autocast = torch.is_autocast_enabled("cpu")
        return super().forward(embeddings, *arguments, **kwargs)


class Change(torch.autograd.Function):
    """The same values, with another gradient."""

    @staticmethod
    def forward(ctx, values, change):
        ctx.change = change
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.change(gradient), None


class ExplodingLoss(TripletMarginLoss):
    """Finite, with a gradient that is not, in each call or in one of them."""

    calls = 0

    def __init__(self, call=None):
        super().__init__()
        self.call = call

    def forward(self, embeddings, *arguments, **kwargs):
        self.calls += 1
        if self.call in (None, self.calls):
            embeddings = Change.apply(embeddings, lambda gradient: gradient * torch.inf)
        return super().forward(embeddings, *arguments, **kwargs)


class LimitedLoss(TripletMarginLoss):
    """Its gradient overflows where the loss was scaled by more than 2^13."""

    def forward(self, *arguments, **kwargs):
        return Change.apply(
            super().forward(*arguments, **kwargs),
            lambda gradient: gradient * (torch.inf if gradient.abs() > 2.0**13 else 1.0),
        )


class HugeLoss(TripletMarginLoss):
    """Its gradient is finite and has a square that is not."""

    def forward(self, *arguments, **kwargs):
        return 1e25 * super().forward(*arguments, **kwargs)


class Named(TensorDataset):
    def image_name(self, index):
        return f"photos/{index}.png"


@pytest.fixture
def on(build, images):
    """A trainer that sees each image once a pass, the bad ones among them not finite."""

    def make(bad=(), loss=None, **options):
        pixels, labels = copy.deepcopy(images.tensors)
        pixels[list(bad)] = torch.nan
        losses = {"metric_loss": loss or TripletMarginLoss()}
        return build(data=Named(pixels, labels), losses=losses, sampler=None, **options)

    return make


def parameters_of(trainer):
    models = trainer.models.values()
    return parameters_to_vector(p for m in models for p in m.parameters()).detach().clone()


@pytest.mark.parametrize("precision", TYPES)
def test_networks_compute_in_half_precision_and_losses_in_float32(build, models, precision):
    found = []
    models["embedder"].register_forward_hook(lambda *call: found.append(call[-1].dtype))
    loss = Watched()
    build(models, precision=precision, losses={"metric_loss": loss}).train()
    assert set(found) == {TYPES[precision]}
    assert loss.seen.dtype == torch.float32
    assert not loss.in_autocast
    for model in models.values():
        assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    "options", [{"precision": "fp32"}, {"on_non_finite": "skip"}, {"check_finite_every": 3}]
)
def test_where_all_is_finite_nothing_changes(build, train, weights_of, options):
    plain, other = (train(build(**given), num_epochs=2) for given in ({}, options))
    assert torch.equal(weights_of(plain), weights_of(other))


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

    build(models, losses={"classifier_loss": Loss()}, precision="bf16").train()
    assert set(seen) == {torch.float32}


def test_scale_that_is_too_high_leaves_steps_out_and_is_no_error(build):
    seen = []

    class Observer:
        def before_step(self, modules):
            seen.append("before")
            assert all(p.grad.isfinite().all() for p in modules["embedder"].parameters())

        def after_step(self, modules, teacher):
            seen.append("after")

    losses = {"metric_loss": LimitedLoss()}
    trainer = build(precision="fp16", losses=losses, observers=[Observer()])
    optimizer = trainer.optimizers["trunk_optimizer"]
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    trainer.lr_schedulers = {"trunk_scheduler_by_iteration": schedule}
    before = parameters_of(trainer)
    trainer.iterations_per_epoch = 3
    trainer.train()  # 2^16, 2^15 and 2^14 are too much
    assert trainer.scaling.skipped_steps == 3
    assert not seen
    assert torch.equal(parameters_of(trainer), before)
    assert optimizer.param_groups[0]["lr"] == 0.05
    trainer.train(start_epoch=2, num_epochs=2)
    assert trainer.scaling.skipped_steps == 3
    assert trainer.scaling.scaler.get_scale() == 2.0**13
    assert seen == ["before", "after"] * 3
    assert optimizer.param_groups[0]["lr"] == 0.05 / 8
    assert trainer.skipped_batches == 0
    assert not torch.equal(parameters_of(trainer), before)


def test_gradient_that_no_scale_makes_finite_stops(on):
    trainer = on(loss=ExplodingLoss(), precision="fp16", iterations_per_epoch=50)
    with pytest.raises(NonFiniteLossError, match="the gradient of trunk"):
        trainer.train()
    assert trainer.scaling.skipped_steps == 16
    assert trainer.scaling.scaler.get_scale() == 1


def test_loss_that_is_not_finite_stops_at_once_whatever_the_scale(on, saves):
    trainer = on(range(40), precision="fp16", checkpointer=saves)
    with pytest.raises(NonFiniteLossError, match="epoch 1, iteration 1 of 5"):
        trainer.train()
    ((state, _),) = saves.failures
    assert state["scaling"] == on(precision="fp16").scaling.state_dict()


def test_skipped_batches_leave_the_scale_alone(on):
    trainer = on([3], precision="fp16", on_non_finite="skip")
    trainer.scaling.scaler.update(1024.0)
    trainer.train(num_epochs=4)
    assert trainer.skipped_batches == 4
    assert trainer.scaling.skipped_steps == 0
    assert trainer.scaling.scaler.get_scale() == 1024.0


@pytest.mark.parametrize("precision", TYPES)
def test_training_goes_on_to_the_bit(assert_resumes, precision):
    options = {"losses": {"metric_loss": LimitedLoss()}} if precision == "fp16" else {}
    trainer = assert_resumes(precision=precision, **options)
    assert trainer.scaling.skipped_steps == (3 if precision == "fp16" else 0)


def test_state_of_earlier_versions_is_read(build, saves):
    build(checkpointer=saves).train()
    state = copy.deepcopy(saves.states[0])
    del state["scaling"]
    build().train(state=state)


def test_gradient_that_is_not_finite_stops_before_the_step(on):
    trainer = on(loss=ExplodingLoss())
    before = parameters_of(trainer)
    with pytest.raises(NonFiniteLossError, match=r"the gradient of trunk\.1\.weight and .*metric_"):
        trainer.train()
    assert torch.equal(parameters_of(trainer), before)


def test_message_has_the_place_the_images_and_each_loss_and_the_weights_are_spared(on, weights_of):
    trainer = on(range(40), freeze_trunk_batchnorm=True)
    before = weights_of(trainer)
    message = "metric_loss and correlation_loss are not finite at epoch 1, iteration 1 of 5"
    with pytest.raises(NonFiniteLossError, match=message) as raised:
        trainer.train()
    text = str(raised.value)
    assert [f"photos/{i}.png" in text for i in trainer.batch_order.last_taken] == [True] * 8
    assert text.count("photos/") == 8
    assert "metric_loss = nan, correlation_loss = nan, total_loss = nan" in text
    assert torch.equal(weights_of(trainer), before)


def test_state_before_the_failure_is_handed_to_the_checkpointer(on, train, saves, weights_of):
    bad = train(on()).batch_order.last_taken[0]  # in the last batch of the first epoch
    with pytest.raises(NonFiniteLossError):
        train(on([bad], checkpointer=saves), num_epochs=2)
    ((state, error),) = saves.failures
    assert isinstance(error, NonFiniteLossError)
    assert (state["epoch"], state["iterations"]) == (1, 4)
    # With the image mended, going on is as if it had been whole from the start.
    whole, resumed = train(on(), num_epochs=2), on()
    resumed.train(num_epochs=2, state=state)
    assert torch.equal(weights_of(whole), weights_of(resumed))


def test_bad_batches_can_be_skipped_and_are_counted(on, weights_of, caplog):
    trainer = on([5], on_non_finite="skip")
    optimizer = trainer.optimizers["trunk_optimizer"]
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    trainer.lr_schedulers = {"trunk_scheduler_by_iteration": schedule}
    with caplog.at_level(logging.WARNING):
        trainer.train(num_epochs=3)
    assert trainer.skipped_batches == 3
    assert caplog.text.count("photos/5.png") == 3
    assert "batch skipped, the 3. so far" in caplog.text
    assert weights_of(trainer).isfinite().all()
    assert optimizer.param_groups[0]["lr"] == 0.05 / 2**12  # stepped with the optimizers


def test_nothing_but_bad_batches_is_an_error(on, weights_of):
    trainer = on(range(40), on_non_finite="skip")
    with pytest.raises(NonFiniteLossError, match="all batches of epoch 1 were skipped"):
        trainer.train()
    assert weights_of(trainer).isfinite().all()


def test_looking_later_stops_before_anything_spoilt_is_saved(on, saves):
    trainer = on(loss=ExplodingLoss(3), checkpointer=saves, check_finite_every=4)
    with pytest.raises(NonFiniteLossError, match="one of the 1 iterations up to iteration 3"):
        trainer.train()
    assert [state["iterations"] for state in saves.states] == [1, 2]
    assert not saves.failures


@pytest.mark.parametrize(("every", "shown"), [(2, 3), (4, 3), (100, 5)])
def test_looking_later_finds_it_at_the_interval_or_the_epochs_end(on, every, shown):
    seen = []
    trainer = on(
        loss=ExplodingLoss(3),
        check_finite_every=every,
        end_of_iteration_hook=lambda trainer: seen.append(trainer.iteration),
        end_of_epoch_hook=lambda trainer: pytest.fail("spoilt weights were shown"),
    )
    with pytest.raises(NonFiniteLossError, match=r"weights are damaged.*check_finite_every: 1"):
        trainer.train()
    assert len(seen) == shown


def test_gradients_whose_squares_overflow_are_finite(on):
    trainer = on(loss=HugeLoss(), iterations_per_epoch=1)
    trainer.train()
    weight = trainer.models["embedder"].weight.grad
    assert weight.isfinite().all()
    assert weight.square().sum().isinf()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision must be one of fp32, bf16, fp16, got 'half'"),
        ({"teacher_precision": "tf32"}, "precision must be one of"),
        ({"on_non_finite": "ignore"}, 'must be "raise" or "skip", got \'ignore\''),
        ({"check_finite_every": 2, "on_non_finite": "skip"}, "has to know before each step"),
        ({"check_finite_every": 2, "precision": "fp16"}, "has to know before each step"),
        ({"check_finite_every": 0}, "check_finite_every must be at least 1 iteration, got 0"),
        ({"accumulation_steps": 0}, "accumulation_steps must be at least 1, got 0"),
    ],
)
def test_other_numbers_and_policies_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
