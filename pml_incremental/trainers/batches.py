"""The order of training batches, which can be resumed in the middle of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler

from pml_incremental.distributed.processes import Processes, drawn_by_rank_zero
from pml_incremental.trainers.training_state import (
    SeededItems,
    plain_attributes,
    set_plain_attributes,
)


class BatchOrder(BatchSampler):
    """Batches as a sampler decides them, a whole pass over the data at a time.

    A data loader asks for batches ahead of their use, so their user says so by
    :meth:`take`: what was not taken is given again after a resume.
    """

    def __init__(
        self, batches: BatchSampler, seeded: bool = False, processes: Processes | None = None
    ) -> None:
        self.batches = batches
        self.seeded = seeded
        self.processes = Processes() if processes is None else processes
        self.order: list[list[int]] = []
        self.taken = 0
        self._seed = 0
        self._goes_on = False
        self._before_pass: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[list[Any]]:
        if not self._goes_on:
            self._begin_pass()
        self._goes_on = False
        for place in range(self.taken, len(self.order)):
            batch = list(self.processes.share(self.order[place]))
            yield [(i, self._seed_of_image(place, i)) for i in batch] if self.gives_seeds else batch

    def __len__(self) -> int:
        return len(self.batches)

    def take(self) -> None:
        """Note that the next batch was used."""
        self.taken += 1

    @property
    def gives_seeds(self) -> bool:
        """Whether each image comes with a seed."""
        return self.seeded or self.processes.is_distributed

    @property
    def last_taken(self) -> list[int]:
        """Indices of this process's images of the batch used last."""
        return list(self.processes.share(self.order[self.taken - 1])) if self.taken else []

    def seed_of_process(self, rank: int) -> int:
        """A seed for what a process draws for itself in the batch used last."""
        return hash((self._seed, self.taken, rank, 0)) & (2**63 - 1)

    def state_dict(self) -> dict[str, Any]:
        """The order of this pass, the place in it, and what the sampler will go on from."""
        sizes = [len(batch) for batch in self.order]
        flat = [index for batch in self.order for index in batch]
        return {
            "order": torch.tensor(flat, dtype=torch.int64),
            "sizes": torch.tensor(sizes, dtype=torch.int64),
            "taken": self.taken,
            "seed": self._seed,
            "samplers": [plain_attributes(sampler) for sampler in self._samplers()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        parts = state["order"].split(state["sizes"].tolist())
        self.order = [part.tolist() for part in parts]
        self.taken, self._seed = state["taken"], state["seed"]
        self._goes_on = bool(self.order)  # else no pass was begun
        for sampler, attributes in zip(self._samplers(), state["samplers"], strict=True):
            set_plain_attributes(sampler, attributes)

    def mark(self) -> int:
        """Where it is now, for :meth:`back_to`; earlier marks are of no use any more."""
        self._before_pass = None
        return self.taken

    def back_to(self, mark: int) -> None:
        """Forget what was taken since the last mark, also if passes began since."""
        if self._before_pass is not None:
            self.load_state_dict(self._before_pass)
        self.taken = mark

    def _begin_pass(self) -> None:
        if self._before_pass is None:
            self._before_pass = self.state_dict()
        self.order = drawn_by_rank_zero(self.batches, self.processes)
        self.taken = 0
        self._seed = self.processes.broadcast(self._pass_seed())

    def _pass_seed(self) -> int:
        if self.seeded:
            return int(torch.randint(2**62, ()))
        if not self.processes.is_distributed:
            return 0
        with torch.random.fork_rng([]):  # not taken from the stream: one process would not either
            return int(torch.randint(2**62, ()))

    def _seed_of_image(self, place: int, index: int) -> int:
        return hash((self._seed, place, index)) & (2**63 - 1)

    def _samplers(self) -> list[Any]:
        inner = getattr(self.batches, "sampler", None)
        return [self.batches] if inner is None else [self.batches, inner]


def in_batches(
    sampler: Sampler[Any] | None, dataset: Dataset[Any], batch_size: int
) -> BatchSampler:
    """The batches of a sampler of images or of batches; by default all images in random order."""
    if isinstance(sampler, BatchSampler):
        return sampler
    images = RandomSampler(dataset) if sampler is None else sampler  # type: ignore[arg-type]
    return BatchSampler(images, int(batch_size), drop_last=True)


def training_loader(
    dataset: Dataset[Any],
    order: BatchOrder,
    workers: int,
    prefetch_factor: int | None,
    collate_fn: Callable[[list[Any]], Any] | None,
    device: torch.device,
) -> DataLoader[Any]:
    """Batches in an order, loaded ahead by processes that live as long as the loader."""
    if prefetch_factor is not None and (workers == 0 or prefetch_factor < 1):
        raise ValueError(
            "prefetch_factor must be at least 1, and needs dataloader_num_workers above 0, got "
            f"{prefetch_factor} with {workers} workers"
        )
    return DataLoader(
        SeededItems(dataset, in_main_process=workers == 0) if order.gives_seeds else dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate_fn,
        prefetch_factor=prefetch_factor,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )


def to_device(batch: Any, device: torch.device) -> Any:
    """A part of a batch on a device, without waiting for a GPU."""
    if not isinstance(batch, Tensor):
        return batch
    return batch.to(device, non_blocking=device.type == "cuda")
