"""What is kept of prior models instead of the models; no pytorch-metric-learning."""

from pml_incremental.estimators.accuracy_change import AccuracyChangeEstimator
from pml_incremental.estimators.bank import EstimatorBank
from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.drift import DriftEstimator
from pml_incremental.estimators.linear import LinearEstimator
from pml_incremental.estimators.mlp import MLPEstimator
from pml_incremental.estimators.registry import ESTIMATORS, build_estimator, register_estimator

__all__ = [
    "ESTIMATORS",
    "AccuracyChangeEstimator",
    "DriftEstimator",
    "EstimatorBank",
    "FeatureEstimator",
    "LinearEstimator",
    "MLPEstimator",
    "build_estimator",
    "register_estimator",
]
