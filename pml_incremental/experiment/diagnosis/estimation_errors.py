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
    """How near an estimate of one prior model is to it, on average."""

    divergence: float  # mean of ``correlation_divergence``
    correlation: float  # mean over batches of ``off_diagonal_correlation``


@dataclass(frozen=True)
class EmbeddedTask:
    """What the teacher and all prior models make of the same images."""

    teacher: Tensor  # embeddings followed by the output of its trunk, shape (N, d + D)
    priors: Tensor  # embeddings of M_1 .. M_{t-2}, shape (K, N, d)
    batches: Sequence[Tensor]  # positions of the images that are compared with each other

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
    """The quality of one prior model's estimate over batches of images."""
    pairs = list(zip(estimated, real, strict=True))
    divergences = torch.cat([correlation_divergence(*pair) for pair in pairs])
    correlations = torch.stack([off_diagonal_correlation(*pair) for pair in pairs])
    return Quality(divergences.mean().item(), correlations.mean().item())


def embed_task(
    images: TaskSubset, teacher: Teacher, priors: Sequence[Teacher], batch_size: int, seed: int
) -> EmbeddedTask:
    """Run the teacher and all prior models on the same images."""
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
    """Positions from 0 in a random order, in parts of nearly equal size."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    yield from order.tensor_split(max(1, round(count / size)))
