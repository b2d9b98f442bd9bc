"""Iterations of several batches, and how often they wait for the device."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import (
    BaseMetricLossFunction,
    CrossBatchMemory,
    TripletMarginLoss,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import NonFiniteLossError


def test_step_is_on_the_mean_of_the_batches_losses(build, train):
    trainer = build(accumulation_steps=2, iterations_per_epoch=1)
    models = copy.deepcopy(trainer.models)
    train(trainer)
    first, second = trainer.images[:8], trainer.images[8:]
    assert len(first) == len(second) == 8
    images, labels = trainer.dataset.tensors
    metric, correlation = TripletMarginLoss(), CorrelationDistillationLoss()
    losses = []
    for batch in (first, second):  # one after the other, as each moves BatchNorm's statistics
        embeddings = models["embedder"](models["trunk"](images[batch]))
        targets = trainer.teacher.embed(images[batch])
        losses.append(metric(embeddings, labels[batch]) + correlation(embeddings, ref_emb=targets))
    total = torch.stack(losses).mean()
    gradients = torch.autograd.grad(total, list(models["trunk"].parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(models["trunk"].parameters(), gradients, strict=True):
            parameter -= 0.05 * gradient
    for key, value in models["trunk"].state_dict().items():
        torch.testing.assert_close(trainer.models["trunk"].state_dict()[key], value)


def test_losses_of_an_iteration_are_means_over_its_batches(build, train):
    """With a learning rate of 0, five batches at once see what five one by one see."""
    seen = {1: [], 5: []}
    for steps, found in seen.items():
        trainer = build(accumulation_steps=steps, lr=0.0)
        trainer.end_of_iteration_hook = lambda t, found=found: found.append(
            [t.losses[name].item() for name in ("metric_loss", "total_loss")]
        )
        train(trainer)
    assert torch.tensor(seen[1]).mean(0).tolist() == pytest.approx(seen[5][0])


@pytest.mark.parametrize(
    ("steps", "given", "sizes"),
    [(2, None, [16, 16, 8] * 2), (3, 4, [24] * 8)],  # given iterations go on over passes
)
def test_last_iteration_of_a_pass_has_what_is_left(build, steps, given, sizes):
    found = []
    trainer = build(accumulation_steps=steps, iterations_per_epoch=given)
    trainer.end_of_iteration_hook = lambda t: found.append(len(t.images))
    trainer.train(num_epochs=2)
    assert found == sizes
    assert trainer.iterations_per_epoch == len(sizes) / 2


def test_observers_clippers_and_schedulers_act_once_for_each_step(build, models):
    seen = []

    class Observer:
        def before_step(self, modules):
            seen.append("before")

        def after_step(self, modules, teacher):
            seen.append("after")

    clippers = {"embedder_grad_clipper": lambda: seen.append("clip")}
    trainer = build(accumulation_steps=2, observers=[Observer()], gradient_clippers=clippers, lr=1)
    optimizer = trainer.optimizers["trunk_optimizer"]
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    trainer.lr_schedulers = {"trunk_scheduler_by_iteration": schedule}
    trainer.train()
    assert seen == ["before", "clip", "after"] * 3
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_penalty_counts_once(build, models):
    before = models["embedder"].weight.detach().clone()
    trainer = build(
        models,
        teacher=None,
        accumulation_steps=4,
        iterations_per_epoch=1,
        penalties={"ewc_loss": lambda modules: modules["embedder"].weight.square().sum() / 2},
        loss_weights={"metric_loss": 0, "correlation_loss": 0, "ewc_loss": 1},
        lr=0.25,
    )
    trainer.train()
    torch.testing.assert_close(models["embedder"].weight.detach(), 0.75 * before)


@pytest.mark.parametrize("memory", [False, True])
def test_training_goes_on_to_the_bit_at_any_iteration(assert_resumes, memory):
    loss = CrossBatchMemory(TripletMarginLoss(), embedding_size=6, memory_size=24)
    options = {"loss_funcs": {"metric_loss": loss}} if memory else {}
    # Iterations that do not divide a pass.
    assert_resumes(accumulation_steps=2, iterations_per_epoch=4, **options)


def test_failed_iteration_is_undone_with_all_its_batches(build, train, images, saves, weights_of):
    """Also if it began in an earlier pass: six batches are more than the five of a pass."""
    options = {"accumulation_steps": 6, "iterations_per_epoch": 3}
    whole = train(build(**options))
    bad = copy.deepcopy(images)
    last = whole.images[-1]
    names = {f"image {index}" for index in whole.images}

    failing = build(data=bad, checkpointer=saves, **options)
    failing.end_of_iteration_hook = lambda trainer: (
        bad.tensors[0][last].fill_(torch.nan) if trainer.iteration == 1 else None
    )
    with pytest.raises(NonFiniteLossError) as raised:
        train(failing)
    assert set(failing.batch_images()) <= names
    assert all(name in str(raised.value) for name in failing.batch_images())
    ((state, _),) = saves.failures
    assert state["iterations"] == 2
    assert torch.equal(weights_of(train(build(**options), state=state)), weights_of(whole))


class Reads(TorchDispatchMode):
    """Counts where the program goes on with a number that a device computed."""

    waiting = ("_local_scalar_dense", "nonzero", "is_nonzero", "item")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        if function._schema.name.split("::")[1] in self.waiting:
            self.found.append(function._schema.name)
        return function(*arguments, **(kwargs or {}))


class Length(BaseMetricLossFunction):
    """PML's own losses pick pairs by masks, and wait for that."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        losses = embeddings.square().sum(dim=1)
        indices = torch.arange(len(losses), device=losses.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element"}}


class NeverDue:
    def after_iteration(self, trainer):
        pass


def after_one_iteration(build, *models, **options):
    """In which optimizers make their state."""
    trainer = build(*models, losses={"metric_loss": Length()}, iterations_per_epoch=4, **options)
    trainer.initialize_dataloader()
    trainer.set_to_train()
    trainer.epoch, trainer.iteration = 1, 0
    trainer.train_iteration()
    return trainer


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        ({}, 1),
        ({"accumulation_steps": 3}, 1),
        ({"precision": "bf16", "cache_teacher": True}, 1),
        ({"check_finite_every": 100}, 0),
        ({"check_finite_every": 100, "accumulation_steps": 3, "precision": "bf16"}, 0),
    ],
)
def test_iteration_waits_once_or_not_at_all(build, options, reads):
    trainer = after_one_iteration(build, checkpointer=NeverDue(), **options)
    get_batch = trainer.get_batch

    def outside():  # images and indices are on the CPU
        with _disable_current_modes():
            return get_batch()

    trainer.get_batch = outside
    with Reads() as counted:
        trainer.train_iteration()
    assert len(counted.found) == reads, counted.found


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"cache_teacher": True}])
def test_cuda_is_not_waited_for(build, models, options):
    models = {name: model.cuda() for name, model in models.items()}
    options |= {"check_finite_every": 100, "data_device": torch.device("cuda")}
    trainer = after_one_iteration(build, models, **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_iteration()
    finally:
        torch.cuda.set_sync_debug_mode("default")
