"""Evaluation at gallery scale: ``python runners/benchmark.py evaluation``.

Each measurement runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from in_turn import DEVICE, keep
from own_process import in_own_process, measured
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.search import IndexSearch, Lookup
from pml_incremental.testers.retrieval_search import Found, RetrievalSearch, search_splits

IMAGES, WIDTH, TASKS = 60_502, 512, 10  # the size of Stanford Online Products' test set
MILLION, NARROW = 1_000_000, 128
KS = (1, 2, 4, 8)
Embedded = dict[str, tuple[Tensor, Tensor]]


def embeddings(images: int, width: int, per_class: int) -> tuple[Tensor, Tensor]:
    """Unit vectors around class centres, classes in order."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) // per_class
    points = torch.randn(int(labels[-1]) + 1, width, generator=generator)[labels]
    points += 2 * torch.randn(images, width, generator=generator)
    return F.normalize(points).to(DEVICE), labels.to(DEVICE)


def tasks(per_class: int) -> Embedded:
    points, labels = embeddings(IMAGES, WIDTH, per_class)
    task = labels * TASKS // (int(labels[-1]) + 1)
    return {
        f"task_{j + 1}": (points[task == j].clone(), labels[task == j].clone())
        for j in range(TASKS)
    }


def ours(per_class: int, metrics: tuple[str, ...]) -> dict[str, Any]:
    embedded = tasks(per_class)

    def search() -> Found:
        return search_splits(RetrievalSearch(metrics), embedded, list(embedded))

    found, figures = measured(search)
    return {**figures, "joint": found.values["joint"]["task_1"]}


def pml(per_class: int) -> dict[str, Any]:
    """The nearest that PML comes: precision at 1 among 9 neighbours, own and joint."""
    embedded = tasks(per_class)
    points = torch.cat([x for x, _ in embedded.values()])
    labels = torch.cat([y for _, y in embedded.values()])

    def search() -> dict[str, Any]:
        calculator = AccuracyCalculator(include=("precision_at_1",), k=max(KS))
        for x, y in embedded.values():
            calculator.get_accuracy(x, y)
        found: dict[str, Any] = calculator.get_accuracy(points, labels)
        return found

    found, figures = measured(search)
    return {**figures, "joint": found}


def million() -> dict[str, Any]:
    points, labels = embeddings(MILLION, NARROW, 10)
    search, built = measured(lambda: IndexSearch(points, labels, "IVF1024,Flat", nprobe=32))
    every, asked = range(MILLION), range(10_000)
    _, searched = measured(lambda: search.rank_matches([Lookup(asked, every, max(KS))]))
    return {
        "build_s": built["seconds"],
        "search_10000_queries_s": searched["seconds"],
        "peak_gb": max(built["peak_gb"], searched["peak_gb"]),
        "recall_of_index_at_8": search.measured_recall(every, max(KS), sample=200),
    }


RECALLS = tuple(f"recall_at_{k}" for k in KS)
MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "ours_5": lambda: ours(5, RECALLS),
    "pml_5": lambda: pml(5),
    "ours_100": lambda: ours(100, RECALLS),
    "pml_100": lambda: pml(100),
    "map_at_r_5": lambda: ours(5, (*RECALLS, "mean_average_precision_at_r")),
    "map_at_r_100": lambda: ours(100, (*RECALLS, "mean_average_precision_at_r")),
    "million": million,
}


def benchmark_evaluation() -> None:
    for per_class in (5, 100):
        mine, theirs = (in_own_process(__file__, f"{who}_{per_class}") for who in ("ours", "pml"))
        title = f"{IMAGES} x {WIDTH}, {TASKS} tasks, {per_class} images a class"
        keep(
            f"{title}, Recall@K",
            {"ours": mine, "pml": theirs},
            "ours / PML <= 0.5 s; < 1.5 GB over the embeddings",
        )
        print(
            f"{title}, Recall@1..8 own and joint: {mine['seconds']:.1f} s / "
            f"PML {theirs['seconds']:.1f} s = "
            f"{mine['seconds'] / theirs['seconds']:.2f} (bar <= 0.5; of CPU time "
            f"{mine['cpu_seconds'] / theirs['cpu_seconds']:.2f}); "
            f"{mine['gb_over_data']:.2f} GB over the embeddings (bar < 1.5)"
        )
        deep = in_own_process(__file__, f"map_at_r_{per_class}")
        keep(f"{title}, mAP@R", deep, "< 2 GB")
        print(
            f"  with mAP@R: {deep['seconds']:.1f} s, {deep['gb_over_data']:.2f} GB over the "
            f"embeddings, {deep['peak_gb']:.2f} GB in all (bar < 2)"
        )
    found = in_own_process(__file__, "million")
    keep(f"{MILLION} x {NARROW} by IVF1024,Flat", found, "< 8 GB")
    print(
        f"{MILLION} x {NARROW} by IVF1024,Flat with nprobe 32: built in {found['build_s']:.0f} s, "
        f"10000 queries in {found['search_10000_queries_s']:.1f} s, {found['peak_gb']:.2f} GB in "
        f"all (bar < 8), {100 * found['recall_of_index_at_8']:.1f} % of the 8 nearest found"
    )


if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
