"""Losses that hold on to what a teacher knows; each is a PML ``BaseMetricLossFunction``."""

from pml_incremental.losses.correlation_distillation_loss import CorrelationDistillationLoss

__all__ = ["CorrelationDistillationLoss"]
