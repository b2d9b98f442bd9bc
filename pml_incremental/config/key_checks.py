"""Checking that the keys of a config fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.layout import KeyPath, is_object
from pml_incremental.config.registry import resolve

_MINERS = ("tuple_miner", "subset_batch_miner")
# PML's third kind, by_plateau, waits for validation results that the task loop does not give.
_SCHEDULES = ("_scheduler_by_epoch", "_scheduler_by_iteration")
# Losses that compare more than embeddings, and the strategies that feed them.
_FED_BY = {"FeatureEstimationLoss": "fecd", "LogitDistillationLoss": "lwf"}


def find_key_problems(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Names of losses, optimizers and the like that lead nowhere, or are missing.

    Args:
        config: canonical.

    Yields:
        Path and description of each problem.
    """
    losses, optimizers = _names(config, "loss_funcs"), _names(config, "optimizers")
    models = [name for name in _names(config, "models") if name in ("embedder", "classifier")]
    trained = ["trunk", *models, *losses]
    if isinstance(config.get("loss_funcs"), dict) and "metric_loss" not in losses:
        yield ("loss_funcs",), "has no metric_loss; add metric_loss: {ClassName: {...}}"
    yield from _unknown(config, "loss_weights", losses)
    yield from _unknown(config, "mining_funcs", _MINERS)
    yield from _unknown(config, "optimizers", [f"{name}_optimizer" for name in trained])
    scheduled = [name.removesuffix("_optimizer") for name in optimizers]
    yield from _unknown(
        config, "lr_schedulers", [n + kind for n in scheduled for kind in _SCHEDULES]
    )
    yield from _find_classifier_problems(config)
    yield from _find_unfed_losses(config)
    yield from _find_untrained(config)
    yield from _find_unmeasured(config)


def _find_unfed_losses(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Losses that would stay idle, or compare the wrong things, without their strategy."""
    losses = config.get("loss_funcs")
    for key, value in losses.items() if isinstance(losses, dict) else ():
        name = next(iter(value)) if is_object(value) else ""
        strategy = _FED_BY.get(name.split(":")[-1])
        if strategy is not None:
            yield (
                ("loss_funcs", key),
                f"{name} needs more than the teacher's embeddings; remove it and use "
                f"strategies: [{strategy}], which brings it",
            )


def _find_untrained(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Models that are said to be trained and have no weights to show for it."""
    if config.get("trained_start") is not True or not isinstance(config.get("models"), dict):
        return
    for key in ("trunk", "embedder"):
        model = config["models"].get(key)
        if is_object(model) and not any("weights_file" in kwargs for kwargs in model.values()):
            yield (
                ("models", key),
                "has no weights_file, and with trained_start: true it is to be a trained model; "
                "name the file",
            )


def _find_unmeasured(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """A tester without the one metric that tables, pictures and choices are made from."""
    from pml_incremental.metrics.recall_at_1 import RECALL_AT_1

    if not is_object(config.get("tester")):
        return
    ((name, kwargs),) = config["tester"].items()
    metrics, ks = kwargs.get("metrics"), kwargs.get("ks")
    if isinstance(metrics, list):
        key, missing = "metrics", None if RECALL_AT_1 in metrics else RECALL_AT_1
    else:
        key, missing = "ks", None if not isinstance(ks, list) or 1 in ks else "1"
    if missing is not None:
        yield (
            ("tester", name, key),
            f"has no {missing}, and tables, pictures and choices are made from Recall@1; add it",
        )


def _find_classifier_problems(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """A classifier, its loss and a trainer that uses them belong together."""
    trainer = config.get("trainer")
    if not is_object(trainer):
        return
    (name,) = trainer
    try:
        uses_classifier = _uses_classifier(name)
    except ConfigError:  # reported where the trainer's own arguments are checked
        return
    needs = {("models", "classifier"), ("loss_funcs", "classifier_loss")}
    for section, key in sorted(needs):
        there = key in _names(config, section)
        if uses_classifier and not there:
            yield (section,), f"has no {key}, which {name} needs; add it"
        if there and not uses_classifier:
            yield (
                (section, key),
                f"is not used by {name}; remove it, or use IncrementalTrainWithClassifier",
            )


def _uses_classifier(trainer: str) -> bool:
    from pytorch_metric_learning.trainers import TrainWithClassifier

    found = resolve("trainer", trainer)
    return isinstance(found, type) and issubclass(found, TrainWithClassifier)


def _names(config: dict[str, Any], section: str) -> list[str]:
    entries = config.get(section)
    if not isinstance(entries, dict):
        return []
    return [str(name) for name, value in entries.items() if value is not None]


def _unknown(
    config: dict[str, Any], section: str, known: Iterable[str]
) -> Iterator[tuple[KeyPath, str]]:
    known = list(known)
    for name in _names(config, section):
        if name not in known:
            yield (section, name), f"belongs to nothing; {suggest(name, known)}"
