"""What a trainer does about losses and gradients that are not finite."""

import copy
import logging

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from torch import nn
from torch.utils.data import Dataset

from pml_incremental.trainers import IncrementalMetricLoss, NonFiniteLossError

CPU = torch.device("cpu")


class Images(Dataset):
    """Eight images of two classes with names, some of which are not finite."""

    def __init__(self, bad=()):
        self.images = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        self.images[list(bad)] = torch.nan

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], index % 2

    def image_name(self, index):
        return f"photos/{index}.png"


class Explode(torch.autograd.Function):
    """A loss that is finite and has a gradient that is not."""

    @staticmethod
    def forward(ctx, values):
        return values

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf


class ExplodingLoss(ContrastiveLoss):
    def forward(self, embeddings, *arguments, **kwargs):
        return super().forward(Explode.apply(embeddings), *arguments, **kwargs)


class Saves:
    """Keeps what it is given at a failure."""

    def __init__(self):
        self.states = []

    def after_iteration(self, trainer):
        pass

    after_epoch = after_iteration

    def after_failure(self, trainer, error):
        self.states.append((copy.deepcopy(trainer.state_dict()), error))


def build(images, loss=None, **kwargs):
    torch.manual_seed(0)
    models = {
        "trunk": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        "embedder": nn.Linear(4, 3),
    }
    return IncrementalMetricLoss(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr=0.1)
            for name, model in models.items()
        },
        loss_funcs={"metric_loss": loss or ContrastiveLoss()},
        dataset=images,
        batch_size=4,
        dataloader_num_workers=0,
        data_device=CPU,
        progress=False,
        **kwargs,
    )


def all_finite(models):
    return all(
        bool(tensor.isfinite().all())
        for model in models.values()
        for tensor in model.state_dict().values()
    )


def test_gradient_that_is_not_finite_stops_before_the_step():
    trainer = build(Images(), ExplodingLoss())
    before = copy.deepcopy(trainer.models["trunk"][0].state_dict())
    with pytest.raises(NonFiniteLossError, match=r"the gradient of trunk\.0\.weight and .*metric_"):
        trainer.train()
    after = trainer.models["trunk"][0].state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_message_has_the_images_and_each_loss():
    trainer = build(Images(bad=range(16)))
    with pytest.raises(NonFiniteLossError) as raised:
        trainer.train()
    text = str(raised.value)
    assert [f"photos/{i}.png" in text for i in trainer.batch_order.last_taken] == [True] * 4
    assert text.count("photos/") == 4
    assert "metric_loss = nan, total_loss = nan" in text


def test_state_before_the_failure_is_handed_to_the_checkpointer():
    whole = build(Images())
    whole.train()
    bad = whole.batch_order.last_taken[0]  # in the last batch of the first epoch
    images, saves = Images(bad=[bad]), Saves()
    trainer = build(images, checkpointer=saves)
    with pytest.raises(NonFiniteLossError):
        trainer.train(num_epochs=2)
    ((state, error),) = saves.states
    assert isinstance(error, NonFiniteLossError)
    assert (state["epoch"], state["iterations"]) == (1, 3)
    assert all_finite(trainer.models)
    # With the image mended, going on is as if it had been whole from the start.
    images.images[bad] = Images().images[bad]
    resumed = build(images)
    resumed.train(num_epochs=2, state=state)
    whole = build(Images())
    whole.train(num_epochs=2)
    for name, model in whole.models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(value, resumed.models[name].state_dict()[key]), key


def test_bad_batches_can_be_skipped_and_are_counted(caplog):
    trainer = build(Images(bad=[5]), on_non_finite="skip")
    with caplog.at_level(logging.WARNING):
        trainer.train(num_epochs=3)
    assert trainer.skipped_batches == 3
    assert caplog.text.count("photos/5.png") == 3
    assert "batch skipped, the 3. so far" in caplog.text
    assert all_finite(trainer.models)


def test_nothing_but_bad_batches_is_an_error():
    trainer = build(Images(bad=range(16)), on_non_finite="skip")
    with pytest.raises(NonFiniteLossError, match="all batches of epoch 1 were skipped"):
        trainer.train()
    assert all_finite(trainer.models)


def test_skipping_changes_nothing_where_all_is_finite():
    first, second = build(Images()), build(Images(), on_non_finite="skip")
    for trainer in (first, second):
        torch.manual_seed(1)
        trainer.train(num_epochs=2)
    for name, model in first.models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(value, second.models[name].state_dict()[key])


def test_other_policies_are_refused():
    with pytest.raises(ValueError, match='must be "raise" or "skip", got \'ignore\''):
        build(Images(), on_non_finite="ignore")


class ExplodesLater(ContrastiveLoss):
    """Its gradient is not finite in the third call."""

    calls = 0

    def forward(self, embeddings, *arguments, **kwargs):
        self.calls += 1
        embeddings = Explode.apply(embeddings) if self.calls == 3 else embeddings
        return super().forward(embeddings, *arguments, **kwargs)


def test_looking_later_stops_before_anything_spoilt_is_saved():
    saves = Saves()
    saved = []
    saves.after_iteration = lambda trainer: saved.append(trainer.state_dict()["iterations"])
    trainer = build(Images(), ExplodesLater(), checkpointer=saves, check_finite_every=4)
    with pytest.raises(NonFiniteLossError, match="one of the 1 iterations up to iteration 3"):
        trainer.train()
    assert saved == [1, 2]
    assert not saves.states


@pytest.mark.parametrize("every", [2, 4, 100])
def test_looking_later_finds_it_at_the_interval_or_the_epochs_end(every):
    seen = []
    trainer = build(
        Images(),
        ExplodesLater(),
        check_finite_every=every,
        end_of_iteration_hook=lambda trainer: seen.append(trainer.iteration),
        end_of_epoch_hook=lambda trainer: pytest.fail("spoilt weights were shown"),
    )
    with pytest.raises(NonFiniteLossError, match=r"weights are damaged.*check_finite_every: 1"):
        trainer.train()
    # Four iterations an epoch.
    assert len(seen) == (4 if every == 100 else 3)


def test_looking_later_changes_nothing_where_all_is_finite():
    first, second = build(Images()), build(Images(), check_finite_every=3)
    for trainer in (first, second):
        torch.manual_seed(1)
        trainer.train(num_epochs=2)
    for name, model in first.models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(value, second.models[name].state_dict()[key])


@pytest.mark.parametrize("other", [{"on_non_finite": "skip"}, {"precision": "fp16"}])
def test_what_must_know_before_each_step_does_not_look_later(other):
    with pytest.raises(ValueError, match="has to know before each step"):
        build(Images(), check_finite_every=2, **other)
    with pytest.raises(ValueError, match="check_finite_every must be at least 1 iteration, got 0"):
        build(Images(), check_finite_every=0)


def test_schedulers_by_iteration_step_with_the_optimizers():
    trainer = build(Images(bad=[5]), on_non_finite="skip")
    optimizer = trainer.optimizers["trunk_optimizer"]
    trainer.lr_schedulers = {
        "trunk_scheduler_by_iteration": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    }
    trainer.train()
    assert trainer.skipped_batches == 1
    assert optimizer.param_groups[0]["lr"] == 0.1 / 2**3


class HugeLoss(ContrastiveLoss):
    """Its gradient is finite and has a square that is not."""

    def forward(self, embeddings, *arguments, **kwargs):
        return 1e25 * super().forward(embeddings, *arguments, **kwargs)


def test_gradients_whose_squares_overflow_are_finite():
    trainer = build(Images(), HugeLoss(), iterations_per_epoch=1)
    trainer.train()
    weight = trainer.models["embedder"].weight.grad
    assert weight.isfinite().all()
    assert weight.square().sum().isinf()
