"""Where the parts of a comparison run: here, in processes of this machine, or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pml_incremental.datasets.image_files import Look, known_looks
from pml_incremental.extras import require

Item = TypeVar("Item")


class Engine(Protocol):
    """Calls a function for each of several items that do not depend on each other."""

    def run(self, function: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Return when all calls have; raise what one of them raised.

        Args:
            function: of a module, so that other processes find it.
            items: what to call it with.
        """


class ThisProcess:
    """One after the other.

    Example:
        >>> ThisProcess().run(print, ["one", "two"])
        one
        two
    """

    def run(self, function: Callable[[Item], None], items: Sequence[Item]) -> None:
        """See :class:`Engine`."""
        for item in items:
            function(item)


@dataclass(frozen=True)
class LocalProcesses:
    """Several at once on this machine, each with its share of the processors.

    Args:
        jobs: how many at once, at least 1.
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them; each process sees one, in turn. Default: all
            processes see what this one does.

    Raises:
        ValueError: if jobs is below 1.
    """

    jobs: int
    gpus: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")

    def run(self, function: Callable[[Item], None], items: Sequence[Item]) -> None:
        """See :class:`Engine`.

        After an error nothing new is started. When this process is interrupted, it asks the others
        to stop, which then save what they are learning.
        """
        others = set(multiprocessing.active_children())
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        spawning = multiprocessing.get_context("spawn")  # a fork has no working CUDA
        with ProcessPoolExecutor(
            max_workers=min(self.jobs, max(1, len(items))),
            mp_context=spawning,
            initializer=_begin_process,
            initargs=(threads, known_looks, self.gpus, spawning.Value("i", 0)),
        ) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):
                    for process in set(multiprocessing.active_children()) - others:
                        process.terminate()
                raise


@dataclass(frozen=True)
class Submitit:
    """On a cluster, through submitit.

    Args:
        logs: a folder that all machines see.
        cluster: ``"slurm"``, ``"local"`` for processes of this machine, or None for Slurm where
            there is one and this machine otherwise.
        parameters: what submitit's ``update_parameters`` takes, such as ``timeout_min`` or
            ``slurm_partition``.

    Raises:
        MissingExtraError: if submitit is not installed.
    """

    logs: Path
    cluster: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require("submitit", "the engine submitit", extra="cluster")

    def run(self, function: Callable[[Item], None], items: Sequence[Item]) -> None:
        """See :class:`Engine`."""
        import submitit

        if not items:
            return
        executor = submitit.AutoExecutor(folder=self.logs, cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        for job in executor.map_array(function, items):
            job.result()


def visible_gpus() -> list[str]:
    """The GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    numbers = [str(number) for number in range(torch.cuda.device_count())]
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return named[: len(numbers)] if named != [""] else numbers


def _begin_process(
    threads: int, looks: Mapping[Path, Look], gpus: Sequence[str], begun: Any
) -> None:
    if gpus:  # before torch looks
        with begun.get_lock():
            place, begun.value = begun.value, begun.value + 1
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    import torch

    known_looks.update(looks)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it too
    torch.set_num_threads(threads)
