"""The images on which student and teacher are compared beside those of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pml_incremental.distributed import Processes
from pml_incremental.probes import (
    Probe,
    build_probe,
    images_of_some_classes,
    turn_images,
    turn_of_classes,
    turned_labels,
)
from pml_incremental.trainers.teacher import TeacherCache, TeacherOutputs


@dataclass(frozen=True)
class Probes:
    """Which images a distillation loss compares student and teacher on, instead of the batch's.

    They are made from the images of the batch, by
    :func:`~pml_incremental.probes.build_probe`, and have no labels. What is drawn for a batch
    depends on the seed and on the batch's place in training alone.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
    CVPR 2022 (function matching), carried over from a classifier's outputs to similarities.

    Args:
        images: how they are made: a name (``"warp"``), ``{name: {options}}``, ``module:callable``,
            a function of images and a generator, or a list of these, each for an equal share.
        share: how many there are for each image of the batch, above 0.
        pool: make so many once, before the first epoch, and take each batch's from these, so that
            the teacher embeds each of them once; default: make them anew from each batch.
        seed: of all that is drawn.

    Raises:
        ValueError: if share or pool is not positive, or there is no probe of that name.

    Example:
        >>> probes = Probes("warp", share=0.5)
        >>> probes.make(torch.rand(8, 3, 16, 16), place=(1, 0)).shape
        torch.Size([4, 3, 16, 16])
    """

    images: Any = "warp"
    share: float = 0.5
    pool: int | None = None
    seed: int = 0
    _probe: Probe = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.share < float("inf"):
            raise ValueError(f"share must be above 0 (probes for each image), got {self.share}")
        if self.pool is not None and self.pool < 1:
            raise ValueError(
                "pool must be at least 1 image, or None to make new probes for each batch, got "
                f"{self.pool}"
            )
        object.__setattr__(self, "_probe", build_probe(self.images))

    def make(
        self, batch: Tensor, place: Iterable[int], processes: Processes | None = None
    ) -> Tensor:
        """Probes for a batch.

        Args:
            batch: its images, shape (N, C, H, W).
            place: where in training this is, as numbers that tell it from other batches.
            processes: that share the batch, each with N images of it: they send each other these,
                so that all probes are those of one process, and each gets its share of them.

        Returns:
            Shape (max(1, round(share N)), C, H, W).

        Raises:
            TypeError: if the batch is no tensor of that shape.
        """
        if not (isinstance(batch, Tensor) and batch.ndim == 4 and batch.is_floating_point()):
            found = tuple(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
            raise TypeError(
                "probes are made from a batch of images, a floating-point tensor of shape "
                f"(N, C, H, W), got {found}: leave out the losses on probes"
            )
        processes = Processes() if processes is None else processes
        generator = self.generator(place)
        whole = processes.gather(batch)
        chosen = self.choose(len(batch), len(whole), generator, processes.size)
        made = self._probe(whole[chosen.to(batch.device)], generator)
        return made[processes.places(len(made))]

    def choose(
        self, batch_size: int, among: int, generator: torch.Generator, processes: int = 1
    ) -> Tensor:
        """Which images are taken for a batch: each once before any of them twice.

        Args:
            batch_size: N, of each process's share of the batch.
            among: how many images there are.
            generator: of the draw.
            processes: how many share the batch.

        Returns:
            processes * max(1, round(share N)) places, int64.
        """
        count = processes * max(1, round(self.share * batch_size))
        rounds = -(-count // among)
        orders = [torch.randperm(among, generator=generator) for _ in range(rounds)]
        return torch.cat(orders)[:count]

    def generator(self, place: Iterable[int]) -> torch.Generator:
        """A generator for one place in training."""
        seed = hash((self.seed, *place)) & (2**63 - 1)
        return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class ProbePool:
    """Probes that are made once, and what the teacher makes of them."""

    images: Tensor  # shape (P, C, H, W), on the CPU
    outputs: TeacherCache  # what the teacher makes of them

    @classmethod
    def of(
        cls,
        probes: Probes,
        batches: Iterable[Tensor],
        embed: Callable[[Tensor], TeacherOutputs],
    ) -> ProbePool:
        """Fill a pool."""
        assert probes.pool is not None
        made: list[Tensor] = []
        outputs: list[TeacherOutputs] = []
        left = probes.pool
        for number, batch in enumerate(batches):
            images = probes.make(batch, (number,))[:left]
            made.append(images.cpu())
            outputs.append(embed(images))
            left -= len(images)
            if left == 0:
                break
        return cls(torch.cat(made), TeacherCache.of(outputs, probes.pool))

    def take(
        self, probes: Probes, batch_size: int, place: Iterable[int], processes: Processes
    ) -> tuple[Tensor, TeacherOutputs]:
        """This process's probes for a batch, and the teacher's outputs for them, on the CPU."""
        generator = probes.generator(place)
        chosen = probes.choose(batch_size, len(self.images), generator, processes.size)
        own = chosen[processes.places(len(chosen))]
        return self.images[own], self.outputs.look_up(own.tolist())


@dataclass(frozen=True)
class TurnedCopies:
    """Copies to join a batch, and what the joined batch's rows then are."""

    images: Tensor  # of this process, turned, shape (n, C, H, W)
    labels: Tensor  # of all processes' images, each process's copies after its images
    upright: Tensor  # which of these rows are no copies, int64

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        share: float,
        place: Iterable[int],
        processes: Processes,
    ) -> TurnedCopies:
        """Turn the images of some classes of a batch, whichever process has them."""
        generator = torch.Generator().manual_seed(hash(tuple(place)) & (2**63 - 1))
        count = len(images)
        is_square = images.shape[-1] == images.shape[-2]
        turns = turn_of_classes(labels, generator, is_square)
        copies = processes.size * round(share * count)
        chosen = images_of_some_classes(labels, copies, generator)
        new = turned_labels(labels[chosen], turns[chosen])
        joined = torch.cat([rows.view(processes.size, -1) for rows in (labels, new)], dim=1)
        places = torch.arange(joined.numel(), device=labels.device).view_as(joined)
        own = chosen[processes.places(copies)]
        return cls(
            turn_images(processes.gather(images)[own], turns[own]),
            joined.flatten(),
            places[:, :count].flatten(),
        )
