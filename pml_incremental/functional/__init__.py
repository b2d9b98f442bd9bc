"""Pure tensor functions: no state, no pytorch-metric-learning."""

from pml_incremental.functional.correlation import correlation_distillation, similarity_divergence

__all__ = ["correlation_distillation", "similarity_divergence"]
