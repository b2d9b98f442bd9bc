"""How often an iteration reads a number off the device, for which a GPU would be waited for."""

import pytest
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch.utils._python_dispatch import TorchDispatchMode

from pml_incremental.losses import CorrelationDistillationLoss


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
        kinds = {"losses": losses, "indices": indices, "reduction_type": "element"}
        return {"loss": kinds}


def losses():
    return {"metric_loss": Length(), "correlation_loss": CorrelationDistillationLoss()}


class NeverDue:
    def after_iteration(self, trainer):
        pass

    def after_failure(self, trainer, error):
        pass


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
    trainer = build(loss_funcs=losses(), iterations_per_epoch=4, checkpointer=NeverDue(), **options)
    trainer.initialize_dataloader()
    trainer.set_to_train()
    trainer.epoch, trainer.iteration = 1, 0
    trainer.train_iteration()  # optimizers make their state in the first
    counted = Reads()
    get_batch = trainer.get_batch

    def outside():  # images and indices are on the CPU
        with torch.utils._python_dispatch._disable_current_modes():
            return get_batch()

    trainer.get_batch = outside
    with counted:
        trainer.train_iteration()
    assert len(counted.found) == reads, counted.found


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"cache_teacher": True}])
def test_cuda_is_not_waited_for(build, models, options):
    trainer = build(
        {name: model.cuda() for name, model in models.items()},
        loss_funcs=losses(),
        iterations_per_epoch=4,
        check_finite_every=100,
        data_device=torch.device("cuda"),
        **options,
    )
    trainer.initialize_dataloader()
    trainer.set_to_train()
    trainer.epoch, trainer.iteration = 1, 0
    trainer.train_iteration()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_iteration()
    finally:
        torch.cuda.set_sync_debug_mode("default")
