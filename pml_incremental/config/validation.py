"""Whether a config names what exists, and gives it arguments that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import Parameter
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import (
    NESTED,
    KeyPath,
    category_at,
    children,
    find_objects,
    is_object,
)
from pml_incremental.config.objects import (
    PASSED_IF_TAKEN,
    PML_BASES,
    SET_ELSEWHERE,
    TYPES,
    UNDERSTOOD_BY_ALL,
    find_trial_problem,
)
from pml_incremental.config.registry import is_sum, resolve, split_sum
from pml_incremental.config.schema import ExperimentConfig
from pml_incremental.config.yaml_files import Origins
from pml_incremental.signatures import Signature, find_mismatch, signature_of

_MINERS = ("tuple_miner", "subset_batch_miner")
# PML's third kind, by_plateau, waits for validation results that the task loop does not give.
_SCHEDULES = ("_scheduler_by_epoch", "_scheduler_by_iteration")
# Losses that compare more than embeddings, and the strategies that feed them.
_FED_BY = {"FeatureEstimationLoss": "fecd", "LogitDistillationLoss": "lwf"}

Problem = tuple[KeyPath, str]


def validate(config: ExperimentConfig) -> None:
    """Check that a config can be run, as far as that is known without data.

    Every class must exist; every argument must be known to its class, be of the right type and, if
    it has no default and the program does not fill it in, be there; losses, miners, transforms,
    optimizers and strategies must accept the values; keys must fit each other.

    Args:
        config: to check.

    Raises:
        ConfigError: with one line for each problem, naming the file and the key.
    """
    problems = list(find_problems(config.to_yaml_dict()))
    if problems:
        raise report(problems, config.origins)


def find_problems(config: dict[str, Any]) -> Iterator[Problem]:
    """Path and description of each problem in a canonical config."""
    forbidden = list(find_import_problems(config))
    if forbidden:  # and nothing may be looked up that would import it
        yield from forbidden
        return
    yield from find_key_problems(config)
    flawed: list[KeyPath] = []
    objects = list(find_objects(config))
    for path, category, name, kwargs in objects:
        for problem_path, message in find_argument_problems(path, category, name, kwargs):
            flawed.append(problem_path)
            yield problem_path, message
    for path, category, name, kwargs in objects:
        if not any(problem_path[: len(path)] == path for problem_path in flawed):
            refusal = find_trial_problem(category, name, kwargs)
            if refusal is not None:
                yield (*path, name), refusal


def report(problems: Iterable[Problem], origins: Origins) -> ConfigError:
    """The error that names where each problem stands."""
    return ConfigError(
        [f"{origins.of(path)}: {'.'.join(map(str, path))}: {message}" for path, message in problems]
    )


def find_argument_problems(
    path: KeyPath, category: str, name: str, kwargs: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with one object, without the objects in its arguments."""
    if is_sum(category, name):
        yield from _find_problems_of_sum(path, name, kwargs)
        return
    try:
        target = resolve(category, name)
    except ConfigError as error:
        yield (*path, name), str(error)
        return
    signature = signature_of(target)
    configurable = _configurable(category, signature)
    for argument, value in kwargs.items():
        if not isinstance(argument, str):
            yield (*path, name), f"has an argument called {argument!r}; write a name"
            continue
        message = _check_argument(category, name, argument, value, signature, configurable)
        if message is not None:
            yield (*path, name, argument), message
        for place, message in _find_malformed(value, (argument,)):
            yield (*path, name, *place), message
    if (
        "weights_prefix" in kwargs
        and "weights_file" not in kwargs
        and category in UNDERSTOOD_BY_ALL
    ):
        yield (*path, name, "weights_prefix"), "has no effect without a weights_file; add one"
    filled_in = {*kwargs, *PASSED_IF_TAKEN.get(category, ()), *SET_ELSEWHERE.get(category, ())}
    for argument in signature.required:
        if argument not in filled_in:
            yield (*path, name), f"has no {argument!r}; write {name}: {{{argument}: ...}}"


def _find_problems_of_sum(
    path: KeyPath, name: str, kwargs: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with the parts of a sum of strategies."""
    try:
        parts = list(split_sum(name, kwargs))
    except ConfigError as error:
        for problem in error.problems:
            yield (*path, name), problem
        return
    for part, options in parts:
        yield from find_argument_problems((*path, name), "strategy", part, options)


def _find_malformed(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Places in an argument where an object should stand and something else does."""
    category = category_at(path, NESTED)
    if category is None:
        for key, item in children(value):
            yield from _find_malformed(item, (*path, key))
    elif value is not None and not is_object(value):
        yield path, f"must be one {category}, {{ClassName: {{argument: value}}}}, got {value!r}"


def _configurable(category: str, signature: Signature) -> set[str]:
    """The arguments that a config may set."""
    names = set(signature.parameters) - SET_ELSEWHERE.get(category, {}).keys()
    if category in PML_BASES:
        base = signature_of(resolve(category, PML_BASES[category]))
        names -= base.parameters.keys() - TYPES[category].keys()
    return names | UNDERSTOOD_BY_ALL.get(category, {}).keys()


def _check_argument(
    category: str, name: str, argument: str, value: Any, signature: Signature, known: set[str]
) -> str | None:
    supplied = SET_ELSEWHERE.get(category, {})
    if argument in supplied:
        return f"is {supplied[argument]}; remove it here"
    if argument not in known:
        if argument in signature.parameters:
            return f"cannot be set in a config; {name} takes: {', '.join(sorted(known))}"
        unknown = f"{name} has no argument {argument!r}; {suggest(argument, known)}"
        return None if signature.is_open else unknown
    if category_at((argument,), NESTED) is not None:
        return None
    # torchvision's transforms take words and lists where the default is a number, and check them.
    trust_default = category != "transform"
    parameter = signature.parameters.get(argument) or Parameter(
        argument, Parameter.KEYWORD_ONLY, annotation=UNDERSTOOD_BY_ALL[category][argument]
    )
    if parameter.annotation is Parameter.empty:
        parameter = parameter.replace(
            annotation=TYPES.get(category, {}).get(argument, Parameter.empty)
        )
    return find_mismatch(parameter, value, trust_default)


def find_key_problems(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Names of losses, optimizers and the like that lead nowhere, or are missing."""
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
                f"strategies: [{strategy}], which adds it",
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
                "has no weights_file, but trained_start: true needs a trained model; name the file",
            )


def _find_unmeasured(config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """A tester without the one metric that tables, pictures and choices are made from."""
    from pml_incremental.metrics.task_matrix import RECALL_AT_1

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
            f"has no {missing}, but tables, pictures and choices need Recall@1; add it",
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
