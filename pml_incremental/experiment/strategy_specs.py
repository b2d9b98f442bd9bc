"""The strategies that a config names."""

from __future__ import annotations

from dataclasses import replace

from pml_incremental.config import ConfigError, ExperimentConfig, ObjectSpec
from pml_incremental.strategies import Strategy


def build_strategy(config: ExperimentConfig, spec: ObjectSpec) -> Strategy:
    """The strategy that a config names."""
    strategy: Strategy = spec.build("strategy")
    problem = _problem(strategy, config)
    if problem is not None:
        raise ConfigError([f"strategies: {spec.class_name} {problem}"])
    return replace(strategy, trained_start=config.trained_start)


def _problem(strategy: Strategy, config: ExperimentConfig) -> str | None:
    """Why a config cannot have the strategy, if it cannot."""
    if strategy.needs_classifier and config.models.classifier is None:
        return (
            "compares logits and the config has no classifier; add models.classifier "
            "(GrowingClassifier), its optimizer, loss_funcs.classifier_loss and the trainer "
            "IncrementalTrainWithClassifier, or leave it out"
        )
    if strategy.needs_classifier and config.trained_start:
        return (
            "compares logits, and with trained_start: true only trunk and embedder are trained; "
            "leave it out"
        )
    if strategy.moves_teacher and config.trainer.kwargs.get("cache_teacher"):
        return (
            "moves the teacher, whose embeddings cannot be cached then; leave it out, or trainer's "
            "cache_teacher"
        )
    if strategy.moves_teacher and strategy.caches_teacher:
        return (
            "moves the teacher and has a pool of probes, for which it is asked once alone; leave "
            "out the pool"
        )
    return None
