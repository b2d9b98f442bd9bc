"""A training step, whole: ``python runners/benchmark.py step``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack

import torch
from in_turn import DEVICE, in_turn, keep, report_ratio, spread
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.trainers import MetricLossOnly
from ready_trainer import BATCH, Models, ready_trainer
from torch import Tensor, nn
from torchvision.models import resnet18

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import (
    SmallConvNet,
    check_compiler,
    compiled,
    remove_classification_head,
)
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

Step = Callable[[], object]


def benchmark_steps() -> None:
    torch.manual_seed(0)
    resnet = remove_classification_head(resnet18(weights=None))
    benchmark_step("ResNet-18 at 64 px", resnet, 512, torch.randn(BATCH, 3, 64, 64), rounds=40)
    small = SmallConvNet()
    benchmark_step("SmallConvNet at 32 px", small, 96, torch.randn(BATCH, 1, 32, 32), rounds=60)


def benchmark_step(name: str, trunk: nn.Module, width: int, images: Tensor, rounds: int) -> None:
    models: Models = {"trunk": trunk.to(DEVICE), "embedder": nn.Linear(width, 128).to(DEVICE)}
    with ExitStack() as compiling:
        times = in_turn(steps(models, images, compiling), rounds, calls=1)
    for which, found in times.items():
        milliseconds = spread([1e3 * second for second in found])
        print(f"{name}: {which:40} {milliseconds['median']:9.3f} ms")
        keep(f"{name}: {which}", {"ms": milliseconds})
    for title, ours, other, bar in (
        ("ours / (plain PML step + teacher forward)", "ours", "plain + teacher", "<= 1.03"),
        ("ours, cached teacher / plain PML step", "ours, cached", "plain", "<= 1.05"),
        ("ours in bf16 / ours", "ours, bf16", "ours", "none"),
        ("ours, compiled / ours", "ours, compiled", "ours", "none"),
    ):
        if ours in times:
            report_ratio(f"{name}: {title}", times[ours], times[other], bar)


def steps(models: Models, images: Tensor, compiling: ExitStack) -> dict[str, Step]:
    """Each kind of step, on the same models, but for those that are compiled."""
    plain = trainer(MetricLossOnly, models, images)
    beside = Teacher.snapshot(models)
    with_teacher = trainer(MetricLossOnly, models, images)

    def step_and_teacher() -> None:
        with_teacher.forward_and_backward()
        beside.embed(images.to(DEVICE))

    found: dict[str, Step] = {
        "plain": plain.forward_and_backward,
        "plain + teacher": step_and_teacher,
        "ours": ours(models, images).train_iteration,
        "ours, cached": ours(models, images, cache_teacher=True).train_iteration,
        "ours, bf16": ours(models, images, precision="bf16").train_iteration,
    }
    try:
        check_compiler()
    except ValueError as error:
        print(f"not compiled: {error}")
        return found
    fast = ours(copy.deepcopy(models), images)
    compiling.enter_context(compiled(fast.models["trunk"], fast.teacher.trunk))
    return {**found, "ours, compiled": fast.train_iteration}


class NeverDue:
    """A checkpointer as a run has one, for which it is not yet time: iterations can be undone."""

    def after_iteration(self, trainer: object) -> None:
        pass

    after_epoch = after_iteration

    def after_failure(self, trainer: object, error: Exception) -> None:
        pass


def ours(models: Models, images: Tensor, **options: object) -> IncrementalMetricLoss:
    teacher = Teacher.snapshot(models)
    built = trainer(IncrementalMetricLoss, models, images, teacher=teacher, **options)
    assert isinstance(built, IncrementalMetricLoss)
    return built


def trainer(
    kind: type[MetricLossOnly], models: Models, images: Tensor, **options: object
) -> MetricLossOnly:
    """A trainer at its first iteration."""
    losses: dict[str, nn.Module] = {"metric_loss": TripletMarginLoss()}
    if "teacher" in options:
        losses["correlation_loss"] = CorrelationDistillationLoss()
        options |= {"progress": False, "checkpointer": NeverDue()}
    return ready_trainer(kind, models, images, losses, **options)
