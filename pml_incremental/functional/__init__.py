"""Pure tensor functions: no state, no pytorch-metric-learning."""

from pml_incremental.functional.correlation import correlation_distillation, similarity_divergence
from pml_incremental.functional.embedding import (
    cosine_distillation,
    l2_distillation,
    nearest_orthogonal,
)
from pml_incremental.functional.estimation import estimate_features
from pml_incremental.functional.herding import herding_order
from pml_incremental.functional.logits import logit_distillation
from pml_incremental.functional.mmd import maximum_mean_discrepancy
from pml_incremental.functional.rectified import rectify_similarities
from pml_incremental.functional.relational import angle_distillation, distance_distillation
from pml_incremental.functional.similarity_preserving import similarity_preserving

__all__ = [
    "angle_distillation",
    "correlation_distillation",
    "cosine_distillation",
    "distance_distillation",
    "estimate_features",
    "herding_order",
    "l2_distillation",
    "logit_distillation",
    "maximum_mean_discrepancy",
    "nearest_orthogonal",
    "rectify_similarities",
    "similarity_divergence",
    "similarity_preserving",
]
