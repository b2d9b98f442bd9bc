"""From one task to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.trainers import Teacher


def end_of_task(
    trainer: Any, leaving: Teacher | None = None, bank: EstimatorBank | None = None, passes: int = 1
) -> Teacher:
    """Make the student the teacher of the next task, and bring the estimators up to date.

    Args:
        trainer: any PML trainer that has learned a task.
        leaving: the teacher that it was learned beside; default: the trainer's, if it has one.
        bank: learns from what both models make of the task's training images, so that it stands
            for the leaving one too. Without a leaving teacher it stays as it is. If it has an
            ``embedding_width`` it sees the trunk's output behind the embeddings.
        passes: how often the training images are gone through for that.

    Returns:
        A frozen copy of the student.

    Raises:
        ValueError: if passes is below 1.
    """
    if passes < 1:
        raise ValueError(f"passes must be at least 1, got {passes}")
    coming = Teacher.snapshot(trainer.models)
    leaving = getattr(trainer, "teacher", None) if leaving is None else leaving
    if bank is not None and leaving is not None:
        with_trunk = bank.embedding_width is not None
        bank.update(
            (_features(leaving, batch, with_trunk), _features(coming, batch, with_trunk))
            for _ in range(passes)
            for batch in _images(trainer)
        )
    return coming


def _images(trainer: Any) -> Iterator[Tensor]:
    """The training images, each once, in batches on the trainer's device."""
    loader = torch.utils.data.DataLoader(
        trainer.dataset, trainer.batch_size, collate_fn=trainer.collate_fn
    )
    for batch in loader:
        images, _ = trainer.data_and_label_getter(batch)
        yield c_f.to_device(images, device=trainer.data_device, dtype=trainer.dtype)


def _features(model: Teacher, images: Tensor, with_trunk: bool) -> Tensor:
    embeddings, features = model.embed_with_features(images)
    return torch.cat([embeddings, features], dim=1) if with_trunk else embeddings
