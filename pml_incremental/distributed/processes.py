"""The processes that train one model together, and what they share and tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, Subset

# Rows sent at once: a few MB, so that what lies in files is never in memory whole.
_BLOCK = 4096

T = TypeVar("T")


class FirstProcessError(RuntimeError):
    """The first process failed at what it did for all; its own error says why."""


@dataclass
class Processes:
    """The processes of a job as one of them sees them; by default it is the only one.

    With several, they are those of torch.distributed's default group, and each method is called by
    all of them, in the same order. With one, nothing is sent and nothing changes.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.

    Example:
        >>> alone = Processes()
        >>> alone.share([1, 2, 3]), alone.on_rank_zero(lambda: "done"), alone.all_max(5)
        ([1, 2, 3], 'done', 5)
    """

    rank: int = 0
    size: int = 1
    _acts_for_all: bool = field(default=False, repr=False)

    @property
    def is_distributed(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the one that reads, writes and prints."""
        return self.rank == 0

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """This process's part of a batch; the parts in the order of ranks are the batch.

        Raises:
            ValueError: if the batch cannot be shared evenly.

        Example:
            >>> [list(Processes(rank, 2).share("abcd")) for rank in range(2)]
            [['a', 'b'], ['c', 'd']]
        """
        return batch[self.places(len(batch))]

    def places(self, batch_size: int) -> slice:
        """Where this process's part of a batch lies in it; see :meth:`share`."""
        check_even(batch_size, self.size)
        count = batch_size // self.size
        return slice(self.rank * count, (self.rank + 1) * count)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, with gradients; see :func:`gather_rows`."""
        return gather_rows(rows) if self.is_distributed else rows

    def broadcast(self, value: T) -> T:
        """What the first process passes, which may be anything that pickles, on the CPU."""
        if not self.is_distributed:
            return value
        holder: list[Any] = [value]
        distributed.broadcast_object_list(holder, src=0, device=torch.device("cpu"))
        received: T = holder[0]
        return received

    def on_rank_zero(
        self, function: Callable[[], T], for_others: Callable[[T], T] | None = None
    ) -> T:
        """Let the first process call a function, and give all what it returned.

        The function must not talk to the other processes, except by this method, which within it
        is a plain call.

        Args:
            function: such as one that reads a file.
            for_others: what the others get of the result; default: all of it.

        Raises:
            FirstProcessError: in the other processes, if the function raised an error.
        """
        if not self.is_distributed or self._acts_for_all:
            return function()
        result: T | None = None
        if self.is_rank_zero:
            self._acts_for_all = True
            try:
                result = function()
            except BaseException as error:
                self.broadcast((None, f"{type(error).__name__}: {error}"))
                raise
            finally:
                self._acts_for_all = False
        sent = result if result is None or for_others is None else for_others(result)
        received, failure = self.broadcast((sent, None))
        if failure is not None:
            raise FirstProcessError(f"the first process failed with {failure}")
        return result if self.is_rank_zero else received  # type: ignore[return-value]

    def all_max(self, number: int) -> int:
        """The largest of the numbers that the processes pass."""
        if not self.is_distributed:
            return number
        found = torch.tensor([number])
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)

    def barrier(self) -> None:
        """Go on when all processes are here."""
        self.all_max(0)


def check_even(batch_size: int, processes: int) -> None:
    """Raise unless each process gets as many images of a batch."""
    if batch_size % processes:
        below = batch_size - batch_size % processes
        nearest = " or ".join(str(size) for size in (below, below + processes) if size)
        raise ValueError(
            f"a batch of {batch_size} images cannot be shared evenly by {processes} processes: "
            f"make it one of {nearest}, or start a different number of processes"
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks."""
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """This process's rows of the sum of what all processes want of them."""
        first = distributed.get_rank() * ctx.count
        return _sum(gradient)[first : first + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    r"""The rows of all processes of the default group, one process's after the other's.

    The gradient of a process's rows is the sum of the gradients of all processes' losses. Where
    every process computes the same loss L of the gathered rows, that is W times the gradient of L
    for W processes, which the mean over processes in ``DistributedDataParallel`` divides by W: the
    weights get the gradient of L.
    """
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def _sum(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        """The mean of the values of all processes."""
        return _sum(value) / distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Each process's value has its share in the means of all."""
        return _sum(gradient) / distributed.get_world_size()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of what all processes pass, with gradients as in :func:`gather_rows`."""
    mean: Tensor = _Mean.apply(value)
    return mean


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Let gradients that all processes have computed alike be the same to the bit."""
    if not processes.is_distributed:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes.size


@torch.no_grad()
def copy_from_rank_zero(modules: Iterable[nn.Module], processes: Processes) -> None:
    """Give all processes the first's weights and buffers, in place."""
    if not processes.is_distributed:
        return
    for module in modules:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


def share_of_images(images: int, batch_size: int, processes: Processes) -> range:
    """Positions of a process's images: whole batches, as one process would go through them.

    Batches of the same images give the same rows to the bit, which others need not.
    """
    batches = -(-images // batch_size)
    first, end = (-(-r * batches // processes.size) for r in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, images), min(end * batch_size, images))


def share_of_loader(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """A loader of this process's share of the images of a loader without random order."""
    if not processes.is_distributed:
        return loader
    return DataLoader(
        Subset(loader.dataset, _share_of(loader, processes)),
        loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def send_rows(rows: Tensor) -> None:
    """Send rows to the first process."""
    for block in rows.split(_BLOCK):
        distributed.send(block.contiguous(), dst=0)


def receive_rows(like: Tensor, loader: DataLoader[Any], processes: Processes) -> Iterator[Tensor]:
    """In the first process, what the others send, in the order of the images."""
    for rank in range(1, processes.size):
        coming = len(_share_of(loader, Processes(rank, processes.size)))
        for done in range(0, coming, _BLOCK):
            block = like.new_empty(min(_BLOCK, coming - done), *like.shape[1:])
            distributed.recv(block, src=rank)
            yield block


def _share_of(loader: DataLoader[Any], processes: Processes) -> range:
    assert loader.batch_size is not None  # only loaders with batches of their own have none
    images: Any = loader.dataset
    return share_of_images(len(images), loader.batch_size, processes)


class RankBatches(BatchSampler):
    """The part of each batch that this process loads, for training loops of your own.

    A whole pass is drawn at once, as the sampler decides it in the first process, so that all take
    parts of the same batches: what they gather is what one process would have loaded. Trainers of
    this package need it not; they share their batches themselves.

    Args:
        batches: decides the batches, such as PML's ``MPerClassSampler`` in a ``BatchSampler``.
        processes: that share them.

    Raises:
        ValueError: while iterating, if a batch cannot be shared evenly.

    Example:
        >>> from pytorch_metric_learning.samplers import MPerClassSampler
        >>> sampler = MPerClassSampler([0, 0, 1, 1], m=2, batch_size=4, length_before_new_iter=8)
        >>> batches = RankBatches(BatchSampler(sampler, 4, drop_last=True), Processes(1, 2))
        >>> len(batches)
        2
    """

    def __init__(self, batches: BatchSampler, processes: Processes) -> None:
        self.batches = batches
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in drawn_by_rank_zero(self.batches, self.processes):
            yield list(self.processes.share(batch))

    def __len__(self) -> int:
        return len(self.batches)


def drawn_by_rank_zero(batches: BatchSampler, processes: Processes) -> list[list[int]]:
    """The batches of a pass, which are those of the first process in all of them.

    Each draws its own too, so that streams of random numbers stay where the first's are.
    """
    drawn: Sequence[Any] = [[int(index) for index in batch] for batch in batches]
    return list(processes.broadcast(drawn))
