"""All that a trainer changes while it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from pml_incremental.trainers.plain_attributes import plain_attributes, set_plain_attributes
from pml_incremental.trainers.random_state import random_state, restore_random_state

if TYPE_CHECKING:
    from pml_incremental.trainers.resumable_mixin import ResumableMixin


def training_state(trainer: ResumableMixin) -> dict[str, Any]:
    """Models, losses, miners, optimizers, schedulers, scale, batches and random streams."""
    epoch, iterations = trainer.position
    return {
        "epoch": epoch,
        "iterations": iterations,
        "skipped_batches": trainer.skipped_batches,
        "modules": {
            kind: {name: module.state_dict() for name, module in modules.items()}
            for kind, modules in _modules(trainer).items()
        },
        "attributes": [plain_attributes(part) for part in _helper_parts(trainer)],
        "optimizers": {name: o.state_dict() for name, o in trainer.optimizers.items()},
        "lr_schedulers": {name: s.state_dict() for name, s in trainer.lr_schedulers.items()},
        "scaling": trainer.scaling.state_dict(),
        "batches": trainer.batch_order.state_dict(),
        "random": random_state(),
    }


def load_training_state(trainer: ResumableMixin, state: Mapping[str, Any]) -> None:
    """Take back what :func:`training_state` gave, random streams last."""
    trainer.position = state["epoch"], state["iterations"]
    trainer.skipped_batches = state["skipped_batches"]
    for kind, modules in _modules(trainer).items():
        for name, module in modules.items():
            module.load_state_dict(state["modules"][kind][name])
    parts = _helper_parts(trainer)
    for part, attributes in zip(parts, state["attributes"], strict=True):
        set_plain_attributes(part, attributes)
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, scheduler in trainer.lr_schedulers.items():
        scheduler.load_state_dict(state["lr_schedulers"][name])
    if "scaling" in state:  # not in those of earlier versions, which had float32 alone
        trainer.scaling.load_state_dict(state["scaling"])
    trainer.batch_order.load_state_dict(state["batches"])
    trainer.dataloader_iter = iter(trainer.dataloader)
    restore_random_state(state["random"])


def _modules(trainer: ResumableMixin) -> dict[str, dict[str, nn.Module]]:
    miners = {
        name: miner for name, miner in trainer.mining_funcs.items() if isinstance(miner, nn.Module)
    }
    return {"models": trainer.models, "loss_funcs": trainer.loss_funcs, "mining_funcs": miners}


def _helper_parts(trainer: ResumableMixin) -> list[nn.Module]:
    """Losses and miners with all modules in them."""
    helpers: Iterable[nn.Module] = [*trainer.loss_funcs.values(), *trainer.mining_funcs.values()]
    return [
        part for helper in helpers if isinstance(helper, nn.Module) for part in helper.modules()
    ]
