"""Losses that hold on to what a teacher knows; each is a PML ``BaseMetricLossFunction``."""

import pml_incremental.needs_pml_2  # noqa: F401
from pml_incremental.losses.correlation_distillation_loss import CorrelationDistillationLoss
from pml_incremental.losses.embedding_distillation_loss import EmbeddingDistillationLoss
from pml_incremental.losses.feature_estimation_loss import FeatureEstimationLoss
from pml_incremental.losses.logit_distillation_loss import LogitDistillationLoss
from pml_incremental.losses.mmd_loss import MMDLoss
from pml_incremental.losses.rectified_correlation_loss import RectifiedCorrelationLoss
from pml_incremental.losses.relational_distillation_loss import RelationalDistillationLoss
from pml_incremental.losses.similarity_preserving_loss import SimilarityPreservingLoss
from pml_incremental.losses.teacher_loss import TeacherLoss

__all__ = [
    "CorrelationDistillationLoss",
    "EmbeddingDistillationLoss",
    "FeatureEstimationLoss",
    "LogitDistillationLoss",
    "MMDLoss",
    "RectifiedCorrelationLoss",
    "RelationalDistillationLoss",
    "SimilarityPreservingLoss",
    "TeacherLoss",
]
