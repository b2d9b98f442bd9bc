"""The incremental trainers."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from torch import Tensor

from pml_incremental.trainers.incremental_mixin import IncrementalMixin


class IncrementalMetricLoss(IncrementalMixin, MetricLossOnly):
    """PML's ``MetricLossOnly`` with a teacher and distillation losses.

    See :class:`IncrementalMixin` for the arguments it adds and :class:`MetricLossOnly` for the
    others.

    Example:
        >>> import torch
        >>> from pytorch_metric_learning.losses import TripletMarginLoss
        >>> from pml_incremental.losses import CorrelationDistillationLoss
        >>> from pml_incremental.trainers import Teacher
        >>> images, labels = torch.randn(16, 1, 4, 4), torch.arange(16) % 4
        >>> student = {"trunk": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))}
        >>> trainer = IncrementalMetricLoss(
        ...     models=student,
        ...     optimizers={"trunk_optimizer": torch.optim.Adam(student["trunk"].parameters())},
        ...     batch_size=8,
        ...     loss_funcs={
        ...         "metric_loss": TripletMarginLoss(),
        ...         "correlation_loss": CorrelationDistillationLoss(),
        ...     },
        ...     loss_weights={"metric_loss": 1, "correlation_loss": 10},
        ...     dataset=torch.utils.data.TensorDataset(images, labels),
        ...     dataloader_num_workers=0,
        ...     data_device=torch.device("cpu"),
        ...     teacher=Teacher.snapshot(student),
        ...     progress=False,
        ... )
        >>> trainer.train(num_epochs=2)
    """


class IncrementalTrainWithClassifier(IncrementalMixin, TrainWithClassifier):
    """PML's ``TrainWithClassifier`` with a teacher and distillation losses.

    The classifier must have an output for each label of the task. A
    :class:`~pml_incremental.models.GrowingClassifier` keeps what it learned when it gains outputs:
    call ``classifier.grow(num_classes)`` before building its optimizer.

    See :class:`IncrementalMixin` for the arguments it adds and :class:`TrainWithClassifier` for
    the others.

    Raises:
        ValueError: while training, if a label has no output in the classifier.
    """

    def calculate_loss(self, curr_batch: tuple[Tensor, Tensor]) -> None:  # type: ignore[override]
        """The PML trainer's losses, then the distillation losses on the same embeddings."""
        # While labels are on the CPU, as a GPU would have to be waited for.
        self.largest_label = int(curr_batch[1].max())
        super().calculate_loss(curr_batch)

    def maybe_get_logits(self, embeddings: Tensor) -> Any:
        """The classifier's logits in the trainer's precision, if its loss has a weight."""
        return self.autocast(super().maybe_get_logits, embeddings)

    def maybe_get_classifier_loss(self, logits: Tensor | None, labels: Tensor) -> Any:
        """The classifier's loss, if it has a weight."""
        if logits is not None and self.largest_label >= logits.shape[1]:
            raise ValueError(
                f"the classifier has {logits.shape[1]} outputs but the task has the label "
                f"{self.largest_label}: call classifier.grow(num_classes) with the number of all "
                "classes seen so far before building its optimizer"
            )
        if logits is not None and self.upright is not None:
            logits, labels = logits[self.upright], labels[self.upright]
        return super().maybe_get_classifier_loss(logits, labels)
