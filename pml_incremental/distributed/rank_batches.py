"""This process's share of each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import BatchSampler

from pml_incremental.distributed.processes import Processes


class RankBatches(BatchSampler):
    """The part of each batch that this process loads, for training loops of one's own.

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
        for batch in drawn_by_first(self.batches, self.processes):
            yield list(self.processes.share(batch))

    def __len__(self) -> int:
        return len(self.batches)


def drawn_by_first(batches: BatchSampler, processes: Processes) -> list[list[int]]:
    """The batches of a pass, which are those of the first process in all of them.

    Each draws its own too, so that streams of random numbers stay where the first's are.
    """
    drawn: Sequence[Any] = [[int(index) for index in batch] for batch in batches]
    return list(processes.broadcast(drawn))
