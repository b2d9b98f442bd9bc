"""Before a task is learned with estimates of earlier models."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.strategies.bank_update import PASSES, Sees, update_bank
from pml_incremental.trainers import Teacher


def start_of_task(
    trainer: Any,
    bank: EstimatorBank,
    leaving: Teacher,
    sees: Sees | None = None,
    passes: int = PASSES,
) -> None:
    """Bring the estimators up to date, before a task is trained.

    They learn from what the trainer's teacher, which learned the task before, and the teacher
    before that make of the trainer's images, as the strategy ``fecd`` does.

    Args:
        trainer: of the task about to be learned; it has a ``teacher``.
        bank: stands for the leaving teacher too afterwards.
        leaving: the teacher beside which the trainer's teacher was learned.
        sees: see :func:`~pml_incremental.strategies.bank_update.update_bank`.
        passes: how often the training images are gone through.

    Raises:
        ValueError: if passes is below 1, sees is not known, or the trainer has no teacher.
    """
    teacher = getattr(trainer, "teacher", None)
    if teacher is None:
        raise ValueError(
            "start_of_task needs a trainer with a teacher, such as "
            "IncrementalMetricLoss(teacher=Teacher.snapshot(models), ...)"
        )

    def images_of(batch: Any) -> Tensor:
        images, _ = trainer.data_and_label_getter(batch)
        moved: Tensor = c_f.to_device(images, device=trainer.data_device, dtype=trainer.dtype)
        return moved

    update_bank(
        bank,
        trainer.dataset,
        leaving,
        teacher,
        sees,
        passes,
        processes=getattr(trainer, "processes", None),
        collate_fn=trainer.collate_fn,
        images_of=images_of,
    )
