"""Feature estimation based correlation distillation, and its oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.strategies.bank_update import PASSES, Sees
from pml_incremental.strategies.distillation import ProbeOptions, correlation, probes_of
from pml_incremental.strategies.estimation import Estimation, ObservedOn
from pml_incremental.strategies.oracle import Oracle
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("fecd")
def fecd(
    weight: float = 10.0,
    estimation_weight: float = 10.0,
    temperature: float = 4.0,
    estimator: str | Mapping[str, Mapping[str, Any] | None] = "LinearEstimator",
    sees: Sees = "trunk",
    observed_on: ObservedOn = "new",
    passes: int = PASSES,
    model_weights: Literal["uniform", "recency"] | Sequence[float] = "uniform",
    low: float | None = None,
    high: float | None = None,
    seed: int = 0,
    probes: ProbeOptions = None,
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
        sees: what the estimator is given of the teacher: its ``"embeddings"``, or the output of its
            ``"trunk"`` too.
        observed_on: images that the estimator learns from: those of the task just ``"finished"``,
            or the ``"new"`` ones, for which one model more is kept.
        passes: how often these images are gone through.
        model_weights: how much each prior model counts, see ``FeatureEstimationLoss``.
        low: smallest relative change, for estimators that draw from a range; default: measured.
        high: largest relative change; give both or none.
        seed: of the estimator's random draws.
        probes: images to compare the models on too, and for the estimators to learn from too, see
            :data:`ProbeOptions`; their ``weight`` is that of the correlation loss; default: none.

    Raises:
        ValueError: if only one of low and high is given.

    Example:
        >>> [type(component).__name__ for component in fecd().components]
        ['Distillation', 'Estimation']
    """
    if (low is None) != (high is None):
        raise ValueError(f"give both low and high, or none to measure them; got {low} and {high}")
    bank = EstimatorBank(estimator, seed=seed)
    component = Estimation(
        bank,
        FeatureEstimationLoss(bank, temperature, model_weights),
        estimation_weight,
        sees,
        observed_on,
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
