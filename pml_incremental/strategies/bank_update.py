"""Bringing a bank of estimators up to date when the teacher changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, RandomSampler

from pml_incremental.distributed import Processes
from pml_incremental.estimators import EstimatorBank
from pml_incremental.trainers import Probes, Teacher
from pml_incremental.trainers.batches import BatchOrder, to_device, training_loader

#: What the estimators see of the teacher: its embeddings, or the output of its trunk too.
Sees: TypeAlias = Literal["embeddings", "trunk"]
#: How often the images are gone through, each time with new random transforms.
PASSES = 4
_BATCH_SIZE = 128


def update_bank(
    bank: EstimatorBank, images: Dataset[Any], leaving: Teacher, coming: Teacher, **how: Any
) -> None:
    """Let a bank stand for the teacher that leaves too; ``how`` as :func:`feature_pairs` has it.

    The estimators learn from what both models make of the same images. Best are the images of the
    task about to be learned, as the estimates will be used on these.
    """
    bank.update(feature_pairs(bank, images, leaving, coming, **how))


@torch.no_grad()
def feature_pairs(
    bank: EstimatorBank,
    images: Dataset[Any],
    leaving: Teacher,
    coming: Teacher,
    sees: Sees | None = None,
    passes: int = PASSES,
    probes: Probes | None = None,
    processes: Processes | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    images_of: Callable[[Any], Tensor] = itemgetter(0),
) -> Iterator[tuple[Tensor, Tensor]]:
    """What both models make of the same images, batch by batch; see :func:`update_bank`."""
    if sees is None:
        sees = "embeddings" if bank.embedding_width is None else "trunk"
    check_observation(passes, sees)
    if len(images) == 0:  # type: ignore[arg-type]
        raise ValueError(f"there is no image to learn M_{len(bank) + 1} from")
    processes = Processes() if processes is None else processes
    device = next(coming.trunk.parameters()).device
    models = [partial(_observe, model, bank, sees) for model in (leaving, coming)]
    batches = partial(
        embed_in_shares,
        images,
        batch_size=_BATCH_SIZE,
        processes=processes,
        device=device,
        collate_fn=collate_fn,
        images_of=images_of,
    )
    for _ in range(passes):
        yield from batches(models)  # type: ignore[misc]
        if probes is not None:
            yield from batches([_before_probes(m, probes, processes.rank) for m in models])  # type: ignore[misc]


def check_observation(passes: int, sees: str) -> None:
    """Raise a ValueError if a bank cannot observe models like this."""
    if passes < 1:
        raise ValueError(f"passes must be at least 1, got {passes}")
    if sees not in get_args(Sees):
        raise ValueError(f'sees must be "embeddings" or "trunk", got {sees!r}')


def _observe(model: Teacher, bank: EstimatorBank, sees: Sees, images: Tensor) -> Tensor:
    embeddings, features = model.embed_with_features(images)
    if sees == "embeddings":
        return embeddings
    bank.embedding_width = embeddings.shape[1]
    return torch.cat([embeddings, features], dim=1)


def _before_probes(
    observe: Callable[[Tensor], Tensor], probes: Probes, rank: int
) -> Callable[[Tensor], Tensor]:
    """What is observed of probes of each batch, the same for every model."""
    probes, batches = replace(probes, share=1.0), itertools.count()
    return lambda images: observe(probes.make(images, (next(batches), rank, 1)))


def embed_in_shares(
    images: Dataset[Any],
    models: Sequence[Callable[[Tensor], Tensor]],
    batch_size: int,
    processes: Processes,
    device: torch.device,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    images_of: Callable[[Any], Tensor] = itemgetter(0),
) -> Iterator[tuple[Tensor, ...]]:
    """What each model makes of the same images, batch by batch, in random order.

    Each process loads and embeds its share of a batch; all of them get the whole batch's rows.
    """
    left = len(images)  # type: ignore[arg-type]
    order = BatchOrder(_EvenBatches(left, batch_size, processes.size), processes=processes)
    for batch in training_loader(images, order, 0, None, collate_fn, device):
        own = to_device(images_of(batch), device)
        rows = tuple(processes.gather(model(own))[:left] for model in models)
        left -= len(rows[0])
        yield rows


class _EvenBatches(BatchSampler):
    """All images in random order; each batch ends in repeats until it can be shared evenly."""

    def __init__(self, images: int, batch_size: int, processes: int) -> None:
        super().__init__(RandomSampler(range(images)), batch_size, drop_last=False)
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield batch + batch[-1:] * (-len(batch) % self.processes)
