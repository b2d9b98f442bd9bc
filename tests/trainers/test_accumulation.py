"""Iterations of several batches."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import CrossBatchMemory, TripletMarginLoss

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import NonFiniteLossError
from pml_incremental.trainers.step_mixin import Accumulation


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
        trainer = build(
            accumulation_steps=steps,
            lr=0.0,
            end_of_iteration_hook=lambda t, found=found: found.append(
                [t.losses[name].item() for name in ("metric_loss", "total_loss")]
            ),
        )
        train(trainer)
    assert torch.tensor(seen[1]).mean(0).tolist() == pytest.approx(seen[5][0])


def test_epoch_is_a_pass_whose_last_iteration_has_what_is_left(build):
    sizes = []
    trainer = build(
        accumulation_steps=2, end_of_iteration_hook=lambda t: sizes.append(len(t.images))
    )
    trainer.train(num_epochs=2)
    assert trainer.iterations_per_epoch == 3
    assert sizes == [16, 16, 8] * 2


def test_left_over_batches_count_by_their_own_number():
    accumulation = Accumulation(3)
    assert accumulation.iterations_in_pass(6) == 2
    assert [accumulation.batches_in(i, 2) for i in range(2)] == [3, 3]
    assert accumulation.iterations_in_pass(2) == 1
    assert accumulation.batches_in(0, 1) == 2


def test_given_iterations_are_whole_and_go_on_over_passes(build):
    sizes = []
    trainer = build(
        accumulation_steps=3,
        iterations_per_epoch=4,
        end_of_iteration_hook=lambda t: sizes.append(len(t.images)),
    )
    trainer.train()
    assert sizes == [24] * 4


def test_observers_clippers_and_schedulers_act_once_for_each_step(build, models):
    seen = []
    weight = models["embedder"].weight

    class Observer:
        def before_step(self, modules):
            seen.append(("before", weight.grad.clone()))

        def after_step(self, modules, teacher):
            seen.append(("after", None))

    trainer = build(
        models,
        accumulation_steps=2,
        observers=[Observer()],
        gradient_clippers={"embedder_grad_clipper": lambda: seen.append(("clip", None))},
        lr=1.0,
    )
    optimizer = trainer.optimizers["trunk_optimizer"]
    trainer.lr_schedulers = {
        "trunk_scheduler_by_iteration": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    }
    trainer.train()
    assert [name for name, _ in seen] == ["before", "clip", "after"] * 3
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
    options = {}
    if memory:
        loss = CrossBatchMemory(TripletMarginLoss(), embedding_size=6, memory_size=24)
        options["loss_funcs"] = {"metric_loss": loss}
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
    resumed = build(**options)
    resumed.train(state=state)
    found = weights_of(resumed)
    assert all(torch.equal(found[key], value) for key, value in weights_of(whole).items())


def test_less_than_one_is_refused(build):
    with pytest.raises(ValueError, match="accumulation_steps must be at least 1, got 0"):
        build(accumulation_steps=0)
