"""A training step by two processes against one: ``python runners/benchmark.py processes``."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from in_turn import MEASUREMENTS, compare, keep, seconds
from pytorch_metric_learning.losses import TripletMarginLoss
from ready_trainer import BATCH, ready_trainer
from torch import Tensor, distributed, multiprocessing, nn
from torchvision.models import resnet18

from pml_incremental.distributed import Processes, share_batchnorm
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import SmallConvNet, remove_classification_head
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

SIZE, EMBEDDING = 2, 128
CASES: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, int, int], int]] = {
    "ResNet-18 at 64 px": (
        lambda: remove_classification_head(resnet18(weights=None)),
        512,
        (3, 64, 64),
        10,
    ),
    "SmallConvNet at 32 px": (SmallConvNet, 96, (1, 32, 32), 30),
}


class WithoutGathering(Processes):
    """Plain data parallelism: each process's losses are those of its own share."""

    def gather(self, rows: Tensor) -> Tensor:
        return rows


def benchmark_processes() -> None:
    print(f"{SIZE} processes of one thread each, {os.cpu_count()} cores, gloo, batch of {BATCH}")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        multiprocessing.spawn(measure, (f"file://{folder}/rendezvous", found), nprocs=SIZE)
        MEASUREMENTS.extend(json.loads(found.read_text()))


def measure(rank: int, meeting: str, found: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=SIZE)
    # Every process measures; the first one says what it found.
    with contextlib.nullcontext() if rank == 0 else contextlib.redirect_stdout(io.StringIO()):
        for name, (trunk, width, shape, rounds) in CASES.items():
            measure_steps(rank, name, trunk, width, shape, rounds)
        together = Processes(rank, SIZE)
        pause = seconds(lambda: together.all_max(0), calls=2000)
        print(f"agreement on whether to stop, once in each iteration: {pause * 1e6:.0f} us")
        keep("agreement on whether to stop", {"seconds": pause})
    if rank == 0:
        found.write_text(json.dumps(MEASUREMENTS))
    distributed.destroy_process_group()


def measure_steps(
    rank: int,
    name: str,
    trunk: Callable[[], nn.Module],
    width: int,
    shape: tuple[int, int, int],
    rounds: int,
) -> None:
    together = Processes(rank, SIZE)
    alone = trainer(Processes(), trunk(), width, shape).forward_and_backward
    shared = trainer(together, trunk(), width, shape).forward_and_backward
    own = trainer(together, trunk(), width, shape, sync_batchnorm=False).forward_and_backward
    plain = trainer(
        WithoutGathering(rank, SIZE), trunk(), width, shape, sync_batchnorm=False
    ).forward_and_backward

    def by_one_process() -> None:
        if rank == 0:
            alone()
        together.wait()

    pairs = (
        (f"{SIZE} processes / one", shared, by_one_process, "0.5 with a core for each"),
        ("BatchNorm over the whole batch / over shares", shared, own, "none"),
        ("gathered losses / each share's own (plain DDP)", own, plain, "none"),
    )
    for title, ours, other, bar in pairs:
        compare(f"{title}, {name}", ours, other, bar, rounds, calls=1)


def trainer(
    processes: Processes,
    trunk: nn.Module,
    width: int,
    shape: tuple[int, int, int],
    sync_batchnorm: bool = True,
) -> IncrementalMetricLoss:
    """A trainer beside a teacher, ready for a step on a batch in memory."""
    torch.manual_seed(0)
    if processes.is_distributed and sync_batchnorm:
        trunk = share_batchnorm(trunk, torch.device("cpu"))
    models = {"trunk": trunk, "embedder": nn.Linear(width, EMBEDDING)}
    built = ready_trainer(
        IncrementalMetricLoss,
        models,
        torch.randn(BATCH, *shape),
        {"metric_loss": TripletMarginLoss(), "correlation_loss": CorrelationDistillationLoss()},
        loss_weights={"metric_loss": 1.0, "correlation_loss": 10.0},
        teacher=Teacher.snapshot(models),
        processes=processes,
    )
    assert isinstance(built, IncrementalMetricLoss)
    return built
