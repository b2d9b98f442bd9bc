"""The loader of training batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pml_incremental.trainers.batch_order import BatchOrder
from pml_incremental.trainers.random_state import SeededItems


def training_loader(
    dataset: Dataset[Any],
    order: BatchOrder,
    workers: int,
    prefetch_factor: int | None,
    collate_fn: Callable[[list[Any]], Any] | None,
    device: torch.device,
) -> DataLoader[Any]:
    """Batches in an order, loaded ahead by processes that live as long as the loader."""
    if prefetch_factor is not None and (workers == 0 or prefetch_factor < 1):
        raise ValueError(
            "prefetch_factor must be at least 1, and needs dataloader_num_workers above 0, got "
            f"{prefetch_factor} with {workers} workers"
        )
    return DataLoader(
        SeededItems(dataset, in_main_process=workers == 0) if order.gives_seeds else dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate_fn,
        prefetch_factor=prefetch_factor,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )


def to_device(batch: Any, device: torch.device) -> Any:
    """A part of a batch on a device, without waiting for a GPU."""
    if not isinstance(batch, Tensor):
        return batch
    return batch.to(device, non_blocking=device.type == "cuda")
