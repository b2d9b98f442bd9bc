"""Correlation losses of large batches: ``python runners/benchmark.py large-batches``.

Each measurement runs in a process of its own, so that its peak memory is its own; whole matrices
and chunks take turns.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

import torch
import torch.nn.functional as F
from in_turn import DEVICE, by_module, forward_and_backward, keep
from own_process import in_own_process, measured
from torch import Tensor, nn

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional.chunked_divergence import DEFAULT_MAX_BYTES
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss

WIDTH, PRIOR_MODELS, ESTIMATED = 512, 10, 2048
COUNTS = (1024, 2048, 4096, 8192, 16384)
ROUNDS = 3
LIMITS = {"whole": None, "chunks": DEFAULT_MAX_BYTES, "chunks-always": 2**23}
TIMES = ("seconds", "cpu_seconds")


def embeddings(count: int) -> tuple[Tensor, Tensor]:
    """A student's and, somewhat different, its teacher's."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(count, WIDTH, generator=generator)
    student = teacher + 0.5 * torch.randn(count, WIDTH, generator=generator)
    return student.to(DEVICE).requires_grad_(), teacher.to(DEVICE)


def correlation(max_bytes: int | None) -> nn.Module:
    return CorrelationDistillationLoss(max_bytes=max_bytes)


def estimation(max_bytes: int | None) -> nn.Module:
    bank, (current, prior) = EstimatorBank("LinearEstimator"), embeddings(4 * WIDTH)
    for _ in range(PRIOR_MODELS):
        bank.update([(prior, current)])
    return FeatureEstimationLoss(bank, max_bytes=max_bytes)


LOSSES = {"correlation": correlation, "estimation": estimation}


def measure(name: str, limit: str, count: int) -> dict[str, Any]:
    loss = LOSSES[name](LIMITS[limit])
    for warm_up in (CorrelationDistillationLoss(max_bytes=1), loss):
        forward_and_backward(by_module(warm_up), *embeddings(64))()
    run = forward_and_backward(by_module(loss), *embeddings(count))
    runs = [measured(run)[1] for _ in range(max(1, min(10, 8192**2 // (2 * count**2))))]
    times = {name: statistics.median(run[name] for run in runs) for name in TIMES}
    return {**runs[0], **times}  # later runs find the memory of the first


def products(count: int) -> dict[str, Any]:
    """One product of N x N with d, some rows at a time."""
    student = F.normalize(embeddings(count)[0].detach())
    rows = 128 if DEVICE.type == "cpu" else 2048
    block = torch.empty(rows, count, device=DEVICE)

    def run() -> None:
        for part in student.split(rows):
            torch.mm(part, student.T, out=block[: len(part)])

    run()
    return measured(run)[1]


def in_turn(name: str, count: int, limits: tuple[str, ...]) -> dict[str, Any]:
    """Medians of each limit's figures over the rounds."""
    runs = [
        {limit: in_own_process(__file__, name, limit, count) for limit in limits}
        for _ in range(ROUNDS)
    ]
    return {
        limit: {
            figure: statistics.median(run[limit][figure] for run in runs)
            for figure in runs[0][limit]
        }
        for limit in limits
    }


def row(title: str, figures: dict[str, Any], product: float, needed: float) -> None:
    whole, chunks = figures["whole"], figures["chunks"]
    time = "cpu_seconds" if DEVICE.type == "cpu" else "seconds"
    keep(title, {**figures, "matrix_products_s": needed * product}, "<= 1/4 memory, <= 1.2 time")
    print(
        f"| {title} | {whole['gb_over_data']:.2f} | {chunks['gb_over_data']:.2f} "
        f"| {whole[time]:.2f} | {chunks[time]:.2f} | {chunks[time] / whole[time]:.2f} "
        f"| {chunks['seconds'] / whole['seconds']:.2f} | {needed * product / chunks[time]:.0%} |",
        flush=True,
    )


def benchmark_large_batches() -> None:
    time = "cpu_seconds" if DEVICE.type == "cpu" else "seconds"
    print(
        "| loss, N (d = 512) | whole: GB over the inputs | chunks: GB | whole: s | chunks: s "
        "| ratio | ratio of wall times | its matrix products alone |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for count in COUNTS:
        product = in_own_process(__file__, "products", count)[time]
        chunks = "chunks" if count > 2896 else "chunks-always"
        figures = in_turn("correlation", count, ("whole", chunks))
        figures["chunks"] = figures[chunks]
        row(f"correlation, {count}", figures, product, needed=4)
    product = in_own_process(__file__, "products", ESTIMATED)[time]
    figures = in_turn("estimation", ESTIMATED, ("whole", "chunks"))
    title = f"estimation, {PRIOR_MODELS} prior models, {ESTIMATED}"
    row(title, figures, product, needed=1.5 * (1 + PRIOR_MODELS) + 1)
    print(f"estimation in chunks, whole process: {figures['chunks']['peak_gb']:.2f} GB (bar 2)")


if __name__ == "__main__":
    if sys.argv[1] == "products":
        print(json.dumps(products(int(sys.argv[2]))))
    else:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
