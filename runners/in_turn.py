"""Functions timed in turn, so that a machine's moods meet all of them, and what came out."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.experiment.environment import describe_environment

ROUNDS = 60
#: Where losses, steps and searches run; ``CUDA_VISIBLE_DEVICES=`` keeps them on the CPU.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: What was reported so far, for :func:`write_json`.
MEASUREMENTS: list[dict[str, Any]] = []


def seconds(function: Callable[[], object], calls: int) -> float:
    """Per call, of several in a row: the first finds the caches as the other function left them."""
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return (time.perf_counter() - start) / calls


def wait() -> None:
    """Until a GPU has done what it was asked to."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def in_turn(
    functions: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, calls: int = 20
) -> dict[str, list[float]]:
    """Seconds of each function in each round, after three rounds to warm up."""
    for function in list(functions.values()) * 3:
        function()
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            found[name].append(seconds(function, calls))
    return found


def forward_and_backward(
    loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor
) -> Callable[[], None]:
    """A loss of student and teacher, and its gradient by the student."""

    def run() -> None:
        student.grad = None
        loss(student, teacher).backward()

    return run


def by_module(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss in PyTorch Metric Learning's form as a function of student and teacher."""
    return lambda student, teacher: loss(student, ref_emb=teacher)


def compare(
    title: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    bar: str,
    rounds: int = ROUNDS,
    calls: int = 20,
) -> None:
    """Run both in turn and print the median of the ratios of the rounds."""
    times = in_turn({"ours": ours, "other": other}, rounds, calls)
    report_ratio(title, times["ours"], times["other"], bar)


def report_ratio(title: str, ours: list[float], other: list[float], bar: str) -> None:
    """Print the median of the rounds' ratios, and both medians."""
    ratios = spread([mine / theirs for mine, theirs in zip(ours, other, strict=True)])
    mine, theirs = (spread([value * 1e3 for value in times]) for times in (ours, other))
    print(
        f"{title:66} {mine['median']:9.3f} ms / {theirs['median']:9.3f} ms = "
        f"{ratios['median']:6.3f}  (quartiles {ratios['quartiles'][0]:.3f} to "
        f"{ratios['quartiles'][1]:.3f}; bar {bar})",
        flush=True,
    )
    keep(title, {"ratio": ratios, "ours_ms": mine, "other_ms": theirs}, bar)


def keep(title: str, figures: Mapping[str, Any], bar: str | None = None) -> None:
    """Note a measurement for :func:`write_json`."""
    MEASUREMENTS.append({"title": title, "bar": bar, **figures})


def spread(values: list[float]) -> dict[str, Any]:
    """Median and quartiles."""
    ordered = sorted(values)
    quartiles = [ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]]
    return {"median": statistics.median(ordered), "quartiles": quartiles, "rounds": len(ordered)}


def write_json(path: Path, load_before: tuple[float, float, float]) -> None:
    """All measurements of this process, with machine and versions."""
    machine = {
        **describe_environment(DEVICE),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": {"before": load_before, "after": os.getloadavg()},
    }
    path.write_text(json.dumps({"machine": machine, "measurements": MEASUREMENTS}, indent=2) + "\n")


def processor() -> str:
    """The processor's name, as Linux has it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
