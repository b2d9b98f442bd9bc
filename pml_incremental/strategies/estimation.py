"""Distillation from all prior models, none of which is kept: a bank of estimators is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, RandomSampler

from pml_incremental.distributed import Processes
from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.metrics.task_matrix import OWN
from pml_incremental.models import tensors_under
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.strategies.component import (
    Component,
    FinishedTask,
    TrainedModel,
    WeightedLoss,
    check_weight,
)
from pml_incremental.trainers import Compared, Probes, Teacher
from pml_incremental.trainers.batches import BatchOrder, to_device, training_loader

#: What the estimators see of the teacher: its embeddings, or the output of its trunk too.
EstimatorInput: TypeAlias = Literal["embeddings", "trunk"]
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
    estimator_input: EstimatorInput | None = None,
    passes: int = PASSES,
    probes: Probes | None = None,
    processes: Processes | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    images_of: Callable[[Any], Tensor] = itemgetter(0),
) -> Iterator[tuple[Tensor, Tensor]]:
    """What both models make of the same images, batch by batch; see :func:`update_bank`."""
    if estimator_input is None:
        estimator_input = "embeddings" if bank.embedding_width is None else "trunk"
    check_observation(passes, estimator_input)
    if len(images) == 0:  # type: ignore[arg-type]
        raise ValueError(f"there is no image to learn M_{len(bank) + 1} from")
    processes = Processes() if processes is None else processes
    device = next(coming.trunk.parameters()).device
    models = [partial(_observe, model, bank, estimator_input) for model in (leaving, coming)]
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
            count = len(images)  # type: ignore[arg-type]
            yield from batches([_before_probes(m, probes, processes, count) for m in models])  # type: ignore[misc]


def check_observation(passes: int, estimator_input: str) -> None:
    """Raise a ValueError if a bank cannot observe models like this."""
    if passes < 1:
        raise ValueError(f"passes must be at least 1, got {passes}")
    if estimator_input not in get_args(EstimatorInput):
        raise ValueError(
            f'estimator_input must be "embeddings" or "trunk", got {estimator_input!r}'
        )


def _observe(
    model: Teacher, bank: EstimatorBank, estimator_input: EstimatorInput, images: Tensor
) -> Tensor:
    embeddings, features = model.embed_with_features(images)
    if estimator_input == "embeddings":
        return embeddings
    bank.embedding_width = embeddings.shape[1]
    return torch.cat([embeddings, features], dim=1)


def _before_probes(
    observe: Callable[[Tensor], Tensor], probes: Probes, processes: Processes, left: int
) -> Callable[[Tensor], Tensor]:
    """What is observed of probes of each batch, the same for every model."""
    probes, batches = replace(probes, share=1.0), itertools.count()

    def observe_probes(images: Tensor) -> Tensor:
        nonlocal left
        whole = processes.gather(images)[:left]  # without what was repeated to share it evenly
        left -= len(whole)
        made = probes.make(whole, (next(batches), 0, 1))
        even = torch.cat([made, made[:1].repeat(-len(made) % processes.size, 1, 1, 1)])
        return observe(even[processes.places(len(even))])

    return observe_probes


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


#: (low, high): smallest and largest change.
Range: TypeAlias = tuple[float, float]

_PREFIX = "bank."

#: Which images the old and the new model are observed on.
EstimatorImages: TypeAlias = Literal["finished", "new"]


class PriorModels(Component):
    """Distil from what prior models make of the images of the batch and, if there are, of probes.

    The loss asks its bank, which stands for these models; it is inactive while the bank is empty.
    """

    needs_memory = True

    def __init__(
        self, loss: FeatureEstimationLoss, weight: float, compares: Compared, probes: Probes | None
    ) -> None:
        check_weight("estimation_loss", weight)
        self.loss = loss
        self.weight = weight
        self.compares = compares
        self.probes = probes

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:  # noqa: ARG002
        """Let the task have probes of its own."""
        if self.probes is not None:
            self.probes = replace(self.probes, seed=torch.initial_seed())
        return teacher

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The loss on the batch, and that on probes."""
        losses = {"estimation_loss": WeightedLoss(self.loss, self.weight, self.compares)}
        if self.probes is not None:
            on_probes = replace(losses["estimation_loss"], probes=self.probes)
            losses["probe_estimation_loss"] = on_probes
        return losses


class Estimation(PriorModels):
    """Estimate what each prior model would make of the new images, and distil from that.

    The bank learns from the teacher that leaves, M_{t-1}, and the one that comes, M_t. With
    ``estimator_images="finished"`` it sees both on the images of the task just learned. With
    ``"new"`` the leaving teacher is kept until the next task's images are there, which are those
    that the estimates are used on; one model more is stored, however many tasks there are.
    """

    def __init__(
        self,
        bank: EstimatorBank,
        loss: FeatureEstimationLoss,
        weight: float,
        estimator_input: EstimatorInput = "embeddings",
        estimator_images: EstimatorImages = "finished",
        passes: int = PASSES,
        fixed_range: Range | None = None,
        probes: Probes | None = None,
    ) -> None:
        super().__init__(
            loss,
            weight,
            "embeddings_and_trunk" if estimator_input == "trunk" else "embeddings",
            probes,
        )
        check_observation(passes, estimator_input)
        if estimator_images not in ("finished", "new"):
            raise ValueError(
                f'estimator_images must be "finished" or "new", got {estimator_images!r}'
            )
        self.bank = bank
        self.estimator_input = estimator_input
        self.estimator_images = estimator_images
        self.passes = passes
        self.fixed_range = fixed_range
        self.ranges: dict[int, Range] = {}

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:
        """Observe both models on the new images, if that is what the bank learns from."""
        super().before_task(task, previous, teacher)
        if previous is not None and self.estimator_images == "new":
            self.update_bank(task.train, previous, teacher)
        return teacher

    def after_task(self, trained: TrainedModel, finished: FinishedTask) -> None:  # noqa: ARG002
        """Observe both models on the finished task's images, and measure the ranges."""
        if self.bank.needs_ranges:
            self.ranges = accuracy_ranges(
                finished.measurements, self.fixed_range, finished.trained_start
            )
        if finished.teacher is not None and self.estimator_images == "finished":
            self.update_bank(finished.task.train, finished.teacher, finished.student)

    def update_bank(self, images: TaskSubset, leaving: Teacher, coming: Teacher) -> None:
        """Carry the bank over from one teacher to the next."""
        how = {
            "estimator_input": self.estimator_input,
            "passes": self.passes,
            "probes": self.probes,
        }
        update_bank(self.bank, images, leaving, coming, processes=self.processes, **how)
        if self.bank.needs_ranges:
            self.bank.set_ranges(self.ranges)

    def report(self) -> dict[str, Any]:
        """The measured ranges and what the bank costs."""
        return {
            "prior_models": len(self.bank),
            "bytes": self.bank.nbytes,
            "ranges": {f"M_{k}": list(limits) for k, limits in self.ranges.items()},
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The bank, its random draws and the ranges."""
        return pack_bank(self.bank, self.ranges)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.ranges = load_bank(self.bank, state)


def pack_bank(bank: EstimatorBank, ranges: Mapping[int, Range]) -> dict[str, Tensor]:
    """The bank's tensors, its counters, and the ranges measured last."""
    state = bank.state_dict()
    width = state["embedding_width"] or 0
    counters = torch.tensor([state["prior_models"], state["seed"], state["draws"], width])
    limits = torch.tensor([ranges[k] for k in sorted(ranges)], dtype=torch.float64)
    tensors = {_PREFIX + name: tensor for name, tensor in state["tensors"].items()}
    return {"counters": counters, "ranges": limits.reshape(-1, 2), **tensors}


def load_bank(bank: EstimatorBank, tensors: Mapping[str, Tensor]) -> dict[int, Range]:
    """Take back what :func:`pack_bank` gave."""
    prior_models, seed, draws, width = (int(value) for value in tensors["counters"])
    bank.embedding_width = width or None
    state = {**bank.state_dict(), "prior_models": prior_models, "seed": seed, "draws": draws}
    state["tensors"] = tensors_under(_PREFIX, tensors)
    bank.load_state_dict(state)
    return {k: (low, high) for k, (low, high) in enumerate(tensors["ranges"].tolist(), 1)}


def accuracy_ranges(
    measurements: Sequence[Mapping[str, Mapping[str, float | None]]],
    fixed_range: Range | None = None,
    trained_start: bool = False,
) -> dict[int, Range]:
    r"""Smallest and largest change of Recall@1 from each prior model to the last model.

    .. math:: low_k = \min_{j \le t} (a_{tj} - a_{kj}), \quad
        high_k = \max_{j \le t} (a_{tj} - a_{kj})

    over the held-out images of the tasks learned so far. The paper speaks of an "accuracy change"
    without saying how it is worked out; this reading is ours.

    Source: Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279 (feature estimation).
    """
    last = len(measurements) - 1
    tasks = [f"task_{number}" for number in range(1, last + 1)]

    def accuracy(model: int, task: str) -> float:
        value = measurements[model][OWN][task]
        assert value is not None  # own-gallery values are measured for every task
        return value

    ranges: dict[int, Range] = {}
    for k, model in enumerate(range(0 if trained_start else 1, last), start=1):
        changes = [accuracy(last, task) - accuracy(model, task) for task in tasks]
        ranges[k] = fixed_range if fixed_range is not None else (min(changes), max(changes))
    return ranges
