"""All that a trainer changes while it learns."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

# A ResumableMixin, which imports this module.
Trainer: TypeAlias = Any


_SINGLE = (type(None), bool, int, float, str, np.generic, np.ndarray, Tensor)


def training_state(trainer: Trainer) -> dict[str, Any]:
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


def load_training_state(trainer: Trainer, state: Mapping[str, Any]) -> None:
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


def _modules(trainer: Trainer) -> dict[str, dict[str, nn.Module]]:
    miners = {
        name: miner for name, miner in trainer.mining_funcs.items() if isinstance(miner, nn.Module)
    }
    return {"models": trainer.models, "loss_funcs": trainer.loss_funcs, "mining_funcs": miners}


def _helper_parts(trainer: Trainer) -> list[nn.Module]:
    """Losses and miners with all modules in them."""
    helpers: Iterable[nn.Module] = [*trainer.loss_funcs.values(), *trainer.mining_funcs.values()]
    return [
        part for helper in helpers if isinstance(helper, nn.Module) for part in helper.modules()
    ]


def plain_attributes(thing: object) -> dict[str, Any]:
    """The attributes of an object that are numbers, strings, tensors, arrays, or made of them."""
    return {
        name: _copy(value)
        for name, value in getattr(thing, "__dict__", {}).items()
        if not name.startswith("_") and _is_plain(value)
    }


def set_plain_attributes(thing: object, attributes: Mapping[str, Any]) -> None:
    """Take back what :func:`plain_attributes` gave; tensors go where those in place are."""
    for name, value in attributes.items():
        current = getattr(thing, name, None)
        if isinstance(value, Tensor) and isinstance(current, Tensor):
            value = value.to(current.device)
        setattr(thing, name, _copy(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _SINGLE)


def _copy(value: Any) -> Any:
    """A copy that later changes in place do not reach."""
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.detach().clone() if isinstance(value, Tensor) else value


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch on every device in use."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on with the streams from where :func:`random_state` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Leave the streams where they were, whatever is drawn within the block."""
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)


class SeededItems(Dataset[Any]):
    """A dataset whose items are asked for as ``(index, seed)``.

    Every generator is seeded before an item is made, so that the same pair gives the same item in
    any data loading process, whatever that process made before.
    """

    def __init__(self, dataset: Dataset[Any], in_main_process: bool = False) -> None:
        self.dataset = dataset
        self.in_main_process = in_main_process

    def __getitem__(self, index: tuple[int, int]) -> Any:
        place, seed = index
        with unchanged_random_state() if self.in_main_process else nullcontext():
            seed_generators(seed)
            return self.dataset[place]


def seed_generators(seed: int) -> None:
    """Seed the generators that transforms draw from: those of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
