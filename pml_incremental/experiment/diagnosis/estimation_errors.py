"""Estimates of prior models against those models themselves, on the images of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pml_incremental.experiment.diagnosis.bank_replay import Candidate
from pml_incremental.metrics import (
    correlation_divergence,
    off_diagonal_correlation,
    relative_drift,
)
from pml_incremental.scenarios import TaskSubset
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class Quality:
    """How near an estimate of one prior model is to it, on average.

    Attributes:
        divergence: mean of ``correlation_divergence``.
        correlation: mean over batches of ``off_diagonal_correlation``.
    """

    divergence: float
    correlation: float


@dataclass(frozen=True)
class EmbeddedTask:
    """What the teacher and all prior models make of the same images.

    Attributes:
        teacher: embeddings followed by the output of its trunk, shape (N, d + D).
        priors: embeddings of M_1 .. M_{t-2}, shape (K, N, d).
        batches: positions of the images that are compared with each other.
    """

    teacher: Tensor
    priors: Tensor
    batches: Sequence[Tensor]

    @property
    def embeddings(self) -> Tensor:
        """The teacher's embeddings, shape (N, d)."""
        return self.teacher[:, : self.priors.shape[2]]

    def drifts(self) -> list[float]:
        """Mean relative change of features from each prior model to the teacher."""
        return [relative_drift(prior, self.embeddings).mean().item() for prior in self.priors]

    def qualities(self, candidate: Candidate) -> list[Quality]:
        """The quality of a candidate's estimate of each prior model, oldest first."""
        features = self.teacher if candidate.sees_trunk else self.embeddings
        estimates = [candidate.estimate(features[batch]) for batch in self.batches]
        return [
            mean_quality([found[k] for found in estimates], [prior[b] for b in self.batches])
            for k, prior in enumerate(self.priors)
        ]


def mean_quality(estimated: Sequence[Tensor], real: Sequence[Tensor]) -> Quality:
    """The quality of one prior model's estimate over batches of images.

    Args:
        estimated: one batch of estimates after the other, each of shape (N, d).
        real: what the model makes of the same images.

    Returns:
        The mean over images of the divergence and over batches of the correlation.

    Example:
        >>> z = torch.eye(3)[[0, 0, 1, 2]]
        >>> mean_quality([z], [2 * z]).divergence
        0.0
    """
    pairs = list(zip(estimated, real, strict=True))
    divergences = torch.cat([correlation_divergence(*pair) for pair in pairs])
    correlations = torch.stack([off_diagonal_correlation(*pair) for pair in pairs])
    return Quality(divergences.mean().item(), correlations.mean().item())


def embed_task(
    images: TaskSubset, teacher: Teacher, priors: Sequence[Teacher], batch_size: int, seed: int
) -> EmbeddedTask:
    """Run the teacher and all prior models on the same images.

    Args:
        images: N of them.
        teacher: M_{t-1}.
        priors: M_1 .. M_{t-2}.
        batch_size: about how many images are compared with each other: N is split into equal
            parts, at random.
        seed: of the split.

    Returns:
        All embeddings, on the CPU.
    """
    device = next(teacher.trunk.parameters()).device
    rows = []
    for batch, _ in DataLoader(images, batch_size=128):
        on_device = batch.to(device)
        features = torch.cat(teacher.embed_with_features(on_device), dim=1)
        rows.append((features.cpu(), [prior.embed(on_device).cpu() for prior in priors]))
    return EmbeddedTask(
        torch.cat([features for features, _ in rows]),
        torch.cat([torch.stack(embeddings) for _, embeddings in rows], dim=1),
        list(equal_parts(len(images), batch_size, seed)),
    )


def equal_parts(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Positions from 0 in a random order, in parts of nearly equal size.

    Args:
        count: of positions.
        size: wanted for each part; reached as nearly as equal parts allow.
        seed: of the order.

    Yields:
        Positions.

    Example:
        >>> [len(part) for part in equal_parts(100, size=40, seed=0)]
        [50, 50]
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    yield from order.tensor_split(max(1, round(count / size)))
