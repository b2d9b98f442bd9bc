"""What matching beyond the batch costs: ``python runners/benchmark.py matching``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from benchmark_steps import NeverDue
from in_turn import DEVICE, in_turn, keep, report_ratio, spread
from pytorch_metric_learning.losses import TripletMarginLoss
from ready_trainer import BATCH, Models, ready_trainer
from torch import Tensor, nn
from torchvision.models import resnet18

from pml_incremental.losses import CorrelationDistillationLoss, RectifiedCorrelationLoss
from pml_incremental.models import SmallConvNet, remove_classification_head
from pml_incremental.strategies.function_matching import MapMatching
from pml_incremental.trainers import IncrementalMetricLoss, Probes, Teacher


def benchmark_matching() -> None:
    torch.manual_seed(0)
    resnet = remove_classification_head(resnet18(weights=None))
    _benchmark("ResNet-18 at 64 px", resnet, 512, torch.randn(BATCH, 3, 64, 64), rounds=20)
    small = SmallConvNet()
    _benchmark("SmallConvNet at 32 px", small, 96, torch.randn(BATCH, 1, 32, 32), rounds=40)


def _benchmark(name: str, trunk: nn.Module, width: int, images: Tensor, rounds: int) -> None:
    models: Models = {"trunk": trunk.to(DEVICE), "embedder": nn.Linear(width, 128).to(DEVICE)}
    times = in_turn(_steps(models, images), rounds, calls=1)
    for which, found in times.items():
        milliseconds = spread([1e3 * second for second in found])
        keep(f"{name}: {which}", {"ms": milliseconds})
        if which != "correlation":
            bar = "<= 1.5" if which == "function-matching" else "none"
            report_ratio(f"{name}: {which} / correlation", found, times["correlation"], bar)


def _steps(models: Models, images: Tensor) -> dict[str, Callable[[], object]]:
    correlation = partial(_trainer, models, images, {"correlation_loss": "embeddings"})
    rectified = {"rectified_loss": "embeddings"}
    matching = partial(_trainer, models, images, {**rectified, "map_loss": "maps"})
    on_probes = partial(
        _trainer, models, images, {"correlation_loss": "embeddings", "probe_loss": "embeddings"}
    )
    return {
        "correlation": correlation(),
        "function-matching": matching(turned=0.35),
        "function-matching, half turned": matching(turned=0.5),
        "function-matching, none turned": matching(),
        "function-matching without maps": _trainer(models, images, rectified, turned=0.35),
        "correlation with N/4 probes": on_probes(probes={"probe_loss": Probes(share=0.25)}),
        "correlation with N/2 probes": on_probes(probes={"probe_loss": Probes(share=0.5)}),
        "correlation with N probes": on_probes(probes={"probe_loss": Probes(share=1.0)}),
        "correlation with N/2 of a pool": on_probes(
            probes={"probe_loss": Probes(share=0.5, pool=160)}
        ),
    }


_LOSSES = {
    "correlation_loss": CorrelationDistillationLoss,
    "probe_loss": CorrelationDistillationLoss,
    "rectified_loss": RectifiedCorrelationLoss,
}


def _trainer(
    models: Models, images: Tensor, compares: dict[str, str], **options: object
) -> Callable[[], object]:
    """One step beside a teacher."""
    maps = MapMatching(0.5)
    losses: dict[str, nn.Module] = {"metric_loss": TripletMarginLoss()}
    losses |= {name: loss() for name, loss in _LOSSES.items() if name in compares}
    if "map_loss" in compares:
        losses["map_loss"] = maps.weighted.loss
    built = ready_trainer(
        IncrementalMetricLoss,
        models,
        images,
        losses,
        observers=[maps] if "map_loss" in compares else [],
        teacher=Teacher.snapshot(models),
        compares=compares,
        freeze_trunk_batchnorm=True,
        progress=False,
        checkpointer=NeverDue(),
        **options,
    )
    assert isinstance(built, IncrementalMetricLoss)
    return built.train_iteration
