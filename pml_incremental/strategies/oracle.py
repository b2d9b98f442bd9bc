"""Distillation from the real prior models, kept and run: what estimation is measured against."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.models import tensors_under
from pml_incremental.scenarios import Task
from pml_incremental.strategies.component import Component, WeightedLoss, check_weight
from pml_incremental.trainers import Probes, Teacher


class OracleTeacher(Teacher):
    """A teacher whose features are the embeddings of all prior models, oldest first."""

    def __init__(self, teacher: Teacher, priors: list[Teacher]) -> None:
        super().__init__(teacher.trunk, teacher.embedder, teacher.classifier)
        self.priors = priors

    @torch.no_grad()
    def embed_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's embeddings (N, d) and those of the K prior models side by side."""
        embeddings = super().embed_with_features(images)[0]
        side_by_side = [embeddings[:, :0], *(prior.embed(images) for prior in self.priors)]
        return embeddings, torch.cat(side_by_side, dim=1)


class OracleBank(EstimatorBank):
    """A bank that reads the prior models' embeddings off an :class:`OracleTeacher`'s features."""

    def __init__(self, priors: list[Teacher]) -> None:
        super().__init__()
        self.priors = priors

    def __len__(self) -> int:
        return len(self.priors)

    def estimate(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        """The embeddings themselves, shape (K, N, d)."""
        blocks: Tensor = features.unflatten(1, (len(self.priors) + 1, -1))
        return blocks[:, 1:].transpose(0, 1)


class Oracle(Component):
    """Distil from every prior model itself. For analysis: it stores them all."""

    acts_from_memory = True

    def __init__(self, weight: float, temperature: float, probes: Probes | None = None) -> None:
        check_weight("estimation_loss", weight)
        self.priors: list[Teacher] = []
        self.loss = FeatureEstimationLoss(OracleBank(self.priors), temperature)
        self.weight = weight
        self.probes = probes
        self.stored: Mapping[str, Tensor] = {}

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:  # noqa: ARG002
        """Add the model before the teacher to the prior ones."""
        self._restore(teacher)
        if self.probes is not None:
            self.probes = replace(self.probes, seed=torch.initial_seed())
        if previous is not None:
            self.priors.append(previous)
        return OracleTeacher(teacher, self.priors)

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The loss of estimation, with the real embeddings as estimates, on batch and probes."""
        losses = {"estimation_loss": WeightedLoss(self.loss, self.weight, "features")}
        if self.probes is not None:
            losses["probe_estimation_loss"] = WeightedLoss(
                self.loss, self.weight, "features", self.probes
            )
        return losses

    def state_dict(self) -> dict[str, Tensor]:
        """All weights of all prior models."""
        return {
            f"{k}.{name}.{key}": tensor
            for k, prior in enumerate(self.priors)
            for name, model in prior.models().items()
            for key, tensor in model.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Keep the weights until :meth:`before_task` brings models to load them into."""
        self.priors.clear()
        self.stored = dict(state)

    def training_state(self) -> dict[str, Tensor]:
        """Nothing: prior models do not change while a task is learned."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing: ``before_task`` brought the prior models."""

    def _restore(self, like: Teacher) -> None:
        count = len({key.split(".")[0] for key in self.stored})
        for k in range(count):
            models = {}
            for name, model in like.models().items():
                if name != "classifier":
                    models[name] = copy.deepcopy(model)
                    models[name].load_state_dict(tensors_under(f"{k}.{name}.", self.stored))
            self.priors.append(Teacher(models["trunk"], models["embedder"]))
        self.stored = {}
