"""Speed as ratios within one run: ``python runners/benchmark.py [PART ...] [--json FILE]``.

Parts: ``losses``, ``step``, ``matching``, ``evaluation``, ``large-batches``, ``fecd-steps``,
``processes``, ``scaling``, ``moving``, ``loading``; without one, the first two. ``gpu`` runs the
tests that need a GPU and then the first five on it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from in_turn import DEVICE, ROUNDS, by_module, compare, forward_and_backward, processor, write_json
from torch import Tensor
from torchvision.models import resnet18

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional import correlation_distillation
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss

TEMPERATURE = 4.0
PRIOR_MODELS = 10
ON_GPU = ("losses", "step", "matching", "evaluation", "large-batches")
SECTIONS = {
    "step": "benchmark_steps:benchmark_steps",
    "matching": "benchmark_matching:benchmark_matching",
    "evaluation": "benchmark_evaluation:benchmark_evaluation",
    "large-batches": "benchmark_large_batches:benchmark_large_batches",
    "fecd-steps": "benchmark_fecd_steps:benchmark_fecd_steps",
    "processes": "benchmark_processes:benchmark_processes",
    "scaling": "benchmark_scaling:benchmark_scaling",
    "moving": "benchmark_moving:benchmark_moving",
    "loading": "benchmark_loading:benchmark_loading",
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
    student = F.normalize(torch.randn(80, 512, device=DEVICE)).requires_grad_()
    teacher = F.normalize(torch.randn(80, 512, device=DEVICE))
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
    student = torch.randn(80, 512, device=DEVICE, requires_grad=True)
    teacher = torch.randn(80, 512, device=DEVICE)
    network = resnet18(weights=None).eval().to(DEVICE)
    images = torch.randn(80, 3, 224, 224, device=DEVICE)
    correlation = by_module(CorrelationDistillationLoss(TEMPERATURE))

    step = partial(forward_and_backward, student=student, teacher=teacher)

    @torch.no_grad()
    def forward_pass() -> None:
        network(images)

    for name in ("AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator"):
        bank = EstimatorBank(name)
        for _ in range(PRIOR_MODELS):
            bank.update([(torch.randn(80, 512, device=DEVICE), torch.randn_like(teacher))])
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


def benchmark_gpu() -> None:
    """The tests that need a GPU, and what is timed on it."""
    if DEVICE.type != "cuda":
        sys.exit("there is no CUDA GPU here: nothing was run")
    root = Path(__file__).parents[1]
    tests = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", str(root / "tests")]
    subprocess.run(tests, cwd=root, check=True)
    for part in ON_GPU:
        section(part)()


def section(name: str) -> Callable[[], None]:
    """What a part of the command line runs, imported only then."""
    if name in HERE:
        return HERE[name]
    module, function = SECTIONS[name].split(":")
    found: Callable[[], None] = getattr(import_module(module), function)
    return found


HERE = {"losses": benchmark_losses, "gpu": benchmark_gpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args()
    unknown = set(options.parts) - {*HERE, *SECTIONS}
    if unknown:
        known = ", ".join([*HERE, *SECTIONS])
        parser.error(f"no part {', '.join(unknown)}; there are {known}")
    load = os.getloadavg()
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"load average {load[0]:.1f}, {where}"
    )
    for part in options.parts or ["losses", "step"]:
        torch.manual_seed(0)
        section(part)()
        if options.json is not None:  # part by part, as some take long
            write_json(options.json, load)


if __name__ == "__main__":
    main()
