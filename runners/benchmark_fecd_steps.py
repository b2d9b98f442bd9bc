"""A training step with feature estimation: ``python runners/benchmark.py fecd-steps``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from in_turn import compare
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.models import remove_classification_head
from pml_incremental.strategies.oracle import OracleBank, OracleTeacher
from pml_incremental.trainers import Compared, IncrementalMetricLoss, Teacher

BATCH, FEATURES, EMBEDDING, PRIOR_MODELS = 80, 512, 128, 3
Models = Mapping[str, nn.Module]


def benchmark_fecd_steps() -> None:
    torch.manual_seed(0)
    models = {
        "trunk": remove_classification_head(resnet18(weights=None)),
        "embedder": nn.Linear(FEATURES, EMBEDDING),
    }
    teacher = Teacher.snapshot(models)
    priors = [Teacher.snapshot(models) for _ in range(PRIOR_MODELS)]
    correlation = trainer(models, teacher)
    oracle = trainer(models, OracleTeacher(teacher, priors), OracleBank(priors), "features")
    steps = {"the real models (oracle)": oracle}
    for name, compares in (
        ("AccuracyChangeEstimator", "embeddings"),
        ("DriftEstimator", "embeddings"),
        ("LinearEstimator", "features"),
        ("MLPEstimator", "features"),
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
    width = EMBEDDING + (FEATURES if compares == "features" else 0)
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
    images, labels = torch.randn(BATCH, 3, 64, 64), torch.arange(BATCH) % 20
    built = IncrementalMetricLoss(
        models=dict(models),
        optimizers={
            f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=1e-6)
            for name, model in models.items()
        },
        batch_size=BATCH,
        loss_funcs=losses,
        compares={"estimation_loss": compares} if bank is not None else {},
        dataset=TensorDataset(images, labels),
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        teacher=teacher,
    )
    built.initialize_dataloader()
    built.set_to_train()
    built.epoch, built.iteration = 1, 0
    return built
