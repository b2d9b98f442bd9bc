"""A training step with feature estimation: ``python runners/benchmark.py fecd-steps``."""

from __future__ import annotations

import torch
from in_turn import compare
from pytorch_metric_learning.losses import TripletMarginLoss
from ready_trainer import BATCH, Models, ready_trainer
from torch import nn
from torchvision.models import resnet18

from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.models import remove_classification_head
from pml_incremental.strategies.fecd import OracleBank, OracleTeacher
from pml_incremental.trainers import Compared, IncrementalMetricLoss, Teacher

FEATURES, EMBEDDING, PRIOR_MODELS = 512, 128, 3


def benchmark_fecd_steps() -> None:
    torch.manual_seed(0)
    models = {
        "trunk": remove_classification_head(resnet18(weights=None)),
        "embedder": nn.Linear(FEATURES, EMBEDDING),
    }
    teacher = Teacher.snapshot(models)
    priors = [Teacher.snapshot(models) for _ in range(PRIOR_MODELS)]
    correlation = trainer(models, teacher)
    oracle = trainer(
        models, OracleTeacher(teacher, priors), OracleBank(priors), "embeddings_and_trunk"
    )
    steps = {"the real models (oracle)": oracle}
    for name, compares in (
        ("AccuracyChangeEstimator", "embeddings"),
        ("DriftEstimator", "embeddings"),
        ("LinearEstimator", "embeddings_and_trunk"),
        ("MLPEstimator", "embeddings_and_trunk"),
    ):
        steps[name] = trainer(models, teacher, full_bank(name, compares), compares)
    for name, step in steps.items():
        compare(
            f"step with {PRIOR_MODELS} prior models, {name} / correlation alone",
            step.forward_and_backward,
            correlation.forward_and_backward,
            "none",
            rounds=10,
            calls=1,
        )


def full_bank(estimator: str, compares: Compared) -> EstimatorBank:
    width = EMBEDDING + (FEATURES if compares == "embeddings_and_trunk" else 0)
    bank = EstimatorBank(estimator, embedding_width=EMBEDDING)
    for _ in range(PRIOR_MODELS):
        bank.update([(torch.randn(BATCH, width), torch.randn(BATCH, width))])
    if bank.needs_ranges:
        bank.set_ranges(dict.fromkeys(range(1, len(bank) + 1), (-0.05, 0.2)))
    return bank


def trainer(
    models: Models,
    teacher: Teacher,
    bank: EstimatorBank | None = None,
    compares: Compared = "embeddings",
) -> IncrementalMetricLoss:
    losses: dict[str, nn.Module] = {
        "metric_loss": TripletMarginLoss(),
        "correlation_loss": CorrelationDistillationLoss(),
    }
    if bank is not None:
        losses["estimation_loss"] = FeatureEstimationLoss(bank)
    built = ready_trainer(
        IncrementalMetricLoss,
        models,
        torch.randn(BATCH, 3, 64, 64),
        losses,
        compares={"estimation_loss": compares} if bank is not None else {},
        teacher=teacher,
    )
    assert isinstance(built, IncrementalMetricLoss)
    return built
