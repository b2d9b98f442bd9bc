"""The incremental trainer for metric losses."""

from __future__ import annotations

from pytorch_metric_learning.trainers import MetricLossOnly

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
