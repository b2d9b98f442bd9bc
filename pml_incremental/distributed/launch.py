"""Joining the group of processes that torchrun has started."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from pml_incremental.distributed.processes import Processes
from pml_incremental.wording import counted

_PAUSE = 0.05
_SAID_BY_ANOTHER = "said_by_another_process"
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# The first process may search a large gallery while the others wait. One that has died is noticed
# at once, by its closed connections.
_PATIENCE = timedelta(days=1)
_TIME_TO_MEET = timedelta(minutes=30)


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """The processes of this job, in a group for as long as the block lasts.

    A group is made if the environment says that torchrun (or another launcher that sets RANK,
    WORLD_SIZE, MASTER_ADDR and MASTER_PORT) started several processes. One that is there already is
    used, and left as it is; tensors on the CPU must be exchanged in it, too. Otherwise this process
    is alone. Processes but the first log errors alone.

    Args:
        device: of the training: with a GPU, tensors there are exchanged by NCCL, others by gloo.

    Raises:
        ValueError: if the processes cannot each have a device of that kind.

    Example:
        >>> with process_group(torch.device("cpu")) as processes:
        ...     processes.size
        1
    """
    if distributed.is_available() and distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size())
        return
    if not are_several_launched():
        yield Processes()
        return
    _check_devices(device)
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(_local_rank())
    store, rank, size = next(rendezvous("env://", timeout=_TIME_TO_MEET))
    store = fresh_store(store, rank, size, _TIME_TO_MEET)
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    processes = Processes(rank, size)
    logger = logging.getLogger("pml_incremental")
    level = logger.level
    if not processes.is_rank_zero:
        logger.setLevel(logging.ERROR)
    try:
        yield processes
        # A connection that one process closes is lost to another that still reads from it.
        store.set(f"ready to leave/{rank}", "")
        store.wait([f"ready to leave/{other}" for other in range(size)])
    except (ValueError, TypeError, OSError, ArithmeticError) as error:
        if not _is_first_to_say(store, str(error)):
            setattr(error, _SAID_BY_ANOTHER, True)
        raise
    finally:
        logger.setLevel(level)
        distributed.destroy_process_group()


def own_device(device: torch.device, processes: Processes) -> torch.device:
    """This process's device of a kind: of several GPUs of a machine, that of its local rank.

    Args:
        device: the kind.
        processes: of the job.

    Example:
        >>> own_device(torch.device("cpu"), Processes())
        device(type='cpu')
    """
    if processes.is_distributed and device.type == "cuda":
        return torch.device("cuda", _local_rank())
    return device


def are_several_launched() -> bool:
    """Whether the environment says that torchrun, or the like, started several processes."""
    return all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def is_first_process() -> bool:
    """Whether a launcher, if there is one, calls this process the first."""
    return os.environ.get("RANK", "0") == "0"


def is_said_by_another(error: BaseException) -> bool:
    """Whether another process of the group ended with the same message, and prints it."""
    return getattr(error, _SAID_BY_ANOTHER, False)


def _is_first_to_say(store: Store, message: str) -> bool:
    key = hashlib.sha256(message.encode()).hexdigest()
    try:
        return bool(store.add(f"said/{key}", 1) == 1)
    except RuntimeError:  # torch's, where whoever held the store is gone
        return True


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _check_devices(device: torch.device) -> None:
    """Raise in every process of a machine, before one waits for another."""
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise ValueError(f"several processes train on CPUs or CUDA GPUs, not on {device.type}")
    if device.index is not None:
        raise ValueError(
            f"device {device} is one GPU, but each process needs its own: write cuda or auto"
        )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > gpus:
        raise ValueError(
            f"{counted(here, 'process')} on this machine cannot each have one of its "
            f"{counted(gpus, 'GPU')}: start {gpus} (--nproc-per-node {gpus}), or train "
            "on the CPU (device=cpu)"
        )


def fresh_store(store: Store, rank: int, size: int, patience: timedelta) -> Store:
    """A part of a store that the processes now running share with no earlier ones.

    torchrun keeps one store when it restarts processes, and the addresses of those that are gone
    stay in it (PyTorch issue 135712). The first process therefore names a new part, and answers
    each other process's own question until that one has confirmed it: what dead processes have
    asked or answered counts for nothing.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        _answer_all(store, own, size, patience)
        return PrefixStore(own, store)
    store.set(f"question/{rank}", own)
    part = store.get(f"answer/{own}").decode()
    store.set(f"confirmed/{part}/{rank}", "")
    return PrefixStore(part, store)


def _answer_all(store: Store, part: str, size: int, patience: timedelta) -> None:
    end = time.monotonic() + patience.total_seconds()
    missing = list(range(1, size))
    while missing := [rank for rank in missing if not store.check([f"confirmed/{part}/{rank}"])]:
        for rank in missing:
            if store.check([f"question/{rank}"]):
                question = store.get(f"question/{rank}").decode()
                store.set(f"answer/{question}", part)
        if time.monotonic() > end:
            raise TimeoutError(f"processes {missing} of {size} did not arrive within {patience}")
        time.sleep(_PAUSE)
