"""Feature estimation based correlation distillation, and its oracle."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pml_incremental.by_name import warn_of_former_name
from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.models import tensors_under
from pml_incremental.scenarios import Task
from pml_incremental.strategies.distillation import ProbeOptions, correlation, probes_of
from pml_incremental.strategies.estimation import (
    PASSES,
    Estimation,
    EstimatorImages,
    EstimatorInput,
    PriorModels,
)
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Probes, Teacher


@register_strategy("fecd")
def fecd(
    weight: float = 10.0,
    estimation_weight: float = 10.0,
    temperature: float = 4.0,
    estimator: str | Mapping[str, Mapping[str, Any] | None] = "LinearEstimator",
    estimator_input: EstimatorInput = "trunk",
    estimator_images: EstimatorImages = "new",
    passes: int = PASSES,
    model_weights: Literal["uniform", "recency"] | Sequence[float] = "uniform",
    low: float | None = None,
    high: float | None = None,
    seed: int = 0,
    probes: ProbeOptions = None,
    sees: EstimatorInput | None = None,
    observed_on: EstimatorImages | None = None,
) -> Strategy:
    """Distil the previous model's similarities and those estimated for every model before it.

    Chen et al., IEEE TMM 2022, doi 10.1109/TMM.2021.3073279. Theirs is the estimator
    ``AccuracyChangeEstimator``, and they add the estimation terms where we take their mean; the
    other estimators are ours, and so is what they see and learn from.

    Args:
        weight: of the correlation loss.
        estimation_weight: of the mean over prior models of the estimation loss.
        temperature: of both.
        estimator: of the prior models' features: a name, ``module:Class`` or
            ``{name: {arguments}}``.
        estimator_input: what the estimator is given of the teacher: its ``"embeddings"``, or the
            output of its ``"trunk"`` too.
        estimator_images: that the estimator learns from: those of the task just ``"finished"``, or
            the ``"new"`` ones, for which one model more is kept.
        passes: how often these images are gone through.
        model_weights: how much each prior model counts, see ``FeatureEstimationLoss``.
        low: smallest relative change, for estimators that draw from a range; default: measured.
        high: largest relative change; give both or none.
        seed: of the estimator's random draws.
        probes: images to compare the models on too, and for the estimators to learn from too, see
            :data:`ProbeOptions`; their ``weight`` is that of the correlation loss; default: none.
        sees: former name of estimator_input.
        observed_on: former name of estimator_images.

    Raises:
        ValueError: if only one of low and high is given.

    Example:
        >>> [type(component).__name__ for component in fecd().components]
        ['Distillation', 'Estimation']
    """
    if (low is None) != (high is None):
        raise ValueError(f"give both low and high, or none to measure them; got {low} and {high}")
    if sees is not None:
        warn_of_former_name("sees", "estimator_input")
        estimator_input = sees
    if observed_on is not None:
        warn_of_former_name("observed_on", "estimator_images")
        estimator_images = observed_on
    bank = EstimatorBank(estimator, seed=seed)
    component = Estimation(
        bank,
        FeatureEstimationLoss(bank, temperature, model_weights),
        estimation_weight,
        estimator_input,
        estimator_images,
        passes,
        None if low is None or high is None else (low, high),
        None if probes is None else probes_of(probes)[0],
    )
    return correlation(weight, temperature, probes) + Strategy((component,))


@register_strategy("fecd-oracle")
def fecd_oracle(
    weight: float = 10.0,
    estimation_weight: float = 10.0,
    temperature: float = 4.0,
    probes: ProbeOptions = None,
) -> Strategy:
    """As fecd, with the real prior models kept and run. For analysis: it stores them all.

    Args:
        weight: of the correlation loss.
        estimation_weight: of the mean over prior models.
        temperature: of both.
        probes: images to compare the models on too, as for ``fecd``; default: none.

    Example:
        >>> [type(component).__name__ for component in fecd_oracle().components]
        ['Distillation', 'Oracle']
    """
    made = None if probes is None else probes_of(probes)[0]
    oracle = Strategy((Oracle(estimation_weight, temperature, made),))
    return correlation(weight, temperature, probes) + oracle


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


class Oracle(PriorModels):
    """Distil from every prior model itself. For analysis: it stores them all."""

    def __init__(self, weight: float, temperature: float, probes: Probes | None = None) -> None:
        self.priors: list[Teacher] = []
        loss = FeatureEstimationLoss(OracleBank(self.priors), temperature)
        super().__init__(loss, weight, "embeddings_and_trunk", probes)
        self.stored: Mapping[str, Tensor] = {}

    def before_task(self, task: Task, previous: Teacher | None, teacher: Teacher) -> Teacher:
        """Add the model before the teacher to the prior ones."""
        self._restore(teacher)
        super().before_task(task, previous, teacher)
        if previous is not None:
            self.priors.append(previous)
        return OracleTeacher(teacher, self.priors)

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
