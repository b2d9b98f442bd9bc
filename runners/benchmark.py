"""Speed as ratios within one run: ``python runners/benchmark.py [PART ...] [--json FILE]``.

Parts: ``losses``, ``step``, ``matching``, ``evaluation``, ``large-batches``, ``fecd-steps``,
``processes``, ``scaling``, ``moving``; without one, the first two.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from in_turn import ROUNDS, by_module, compare, forward_and_backward, processor, write_json
from torch import Tensor
from torchvision.models import resnet18

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional import correlation_distillation
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss

TEMPERATURE = 4.0
PRIOR_MODELS = 10
SECTIONS = {
    "step": "benchmark_steps:benchmark_steps",
    "matching": "benchmark_matching:benchmark_matching",
    "evaluation": "benchmark_evaluation:benchmark_evaluation",
    "large-batches": "benchmark_large_batches:benchmark_large_batches",
    "fecd-steps": "benchmark_fecd_steps:benchmark_fecd_steps",
    "processes": "benchmark_processes:benchmark_processes",
    "scaling": "benchmark_scaling:benchmark_scaling",
    "moving": "benchmark_moving:benchmark_moving",
}


def loop_over_anchors(student: Tensor, teacher: Tensor) -> Tensor:
    losses = []
    for i in range(len(student)):
        target = F.softmax(teacher @ teacher[i] / TEMPERATURE, dim=0)
        logits = F.log_softmax(student @ student[i] / TEMPERATURE, dim=0)
        losses.append(TEMPERATURE**2 * (target * (target.log() - logits)).sum())
    return torch.stack(losses).mean()


def inline(student: Tensor, teacher: Tensor) -> Tensor:
    logits = F.log_softmax(student @ student.T / TEMPERATURE, dim=1)
    target = F.softmax(teacher @ teacher.T / TEMPERATURE, dim=1)
    return F.kl_div(logits, target, reduction="batchmean") * TEMPERATURE**2


def inline_normalised(student: Tensor, teacher: Tensor) -> Tensor:
    return inline(F.normalize(student), F.normalize(teacher))


def benchmark_loss() -> None:
    student = F.normalize(torch.randn(80, 512)).requires_grad_()
    teacher = F.normalize(torch.randn(80, 512))
    step = partial(forward_and_backward, student=student, teacher=teacher)
    function = step(lambda z, t: correlation_distillation(z, t, TEMPERATURE).mean())
    module = step(by_module(CorrelationDistillationLoss(TEMPERATURE)))
    loop = step(loop_over_anchors)
    compare("loop over anchors / correlation function, N=80 d=512", loop, function, ">= 20")
    compare("correlation function / written inline", function, step(inline), "<= 1.3")
    compare(
        "correlation loss / written inline with normalisation",
        module,
        step(inline_normalised),
        "<= 1.3",
    )


def benchmark_estimation() -> None:
    student = torch.randn(80, 512, requires_grad=True)
    teacher = torch.randn(80, 512)
    network = resnet18(weights=None).eval()
    images = torch.randn(80, 3, 224, 224)
    correlation = by_module(CorrelationDistillationLoss(TEMPERATURE))

    step = partial(forward_and_backward, student=student, teacher=teacher)

    @torch.no_grad()
    def forward_pass() -> None:
        network(images)

    for name in ("AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator"):
        bank = EstimatorBank(name)
        for _ in range(PRIOR_MODELS):
            bank.update([(torch.randn(80, 512), torch.randn(80, 512))])
            if bank.needs_ranges:
                bank.set_ranges(dict.fromkeys(range(1, len(bank) + 1), (-0.05, 0.2)))
        estimation = step(by_module(FeatureEstimationLoss(bank, TEMPERATURE)))
        title = f"estimation loss, {name}, 10 prior models / correlation loss"
        compare(title, estimation, step(correlation), "<= 12")
    title = "one forward pass of ResNet-18 at 224 px / estimation loss, MLPEstimator"
    compare(title, forward_pass, estimation, ">= 0.5, as ten would be 5", rounds=5, calls=1)


def benchmark_losses() -> None:
    print(f"medians of {ROUNDS} rounds run in turn")
    benchmark_loss()
    benchmark_estimation()


def section(name: str) -> Callable[[], None]:
    """What a part of the command line runs, imported only then."""
    if name == "losses":
        return benchmark_losses
    module, function = SECTIONS[name].split(":")
    found: Callable[[], None] = getattr(import_module(module), function)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args()
    unknown = set(options.parts) - {"losses", *SECTIONS}
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are losses, {', '.join(SECTIONS)}")
    load = os.getloadavg()
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"load average {load[0]:.1f}"
    )
    for part in options.parts or ["losses", "step"]:
        torch.manual_seed(0)
        section(part)()
        if options.json is not None:  # part by part, as some take long
            write_json(options.json, load)


if __name__ == "__main__":
    main()
