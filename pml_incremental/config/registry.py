"""Finding classes by the names that configs write."""

from __future__ import annotations

import enum
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.extras import require


@dataclass(frozen=True)
class Source:
    """A module that holds classes of a category, all derived from one base."""

    module: str
    base: str = "builtins:object"


def _sources(base: str, *modules: str) -> tuple[Source, ...]:
    return tuple(Source(module, base) for module in modules)


_PML = "pytorch_metric_learning"
_MODULE = "torch.nn:Module"
# Earlier sources win. Modules are imported when something of their category is looked up.
CATEGORIES: dict[str, tuple[Source, ...]] = {
    "dataset": _sources(
        "torch.utils.data:Dataset",
        "pml_incremental.datasets",
        "torchvision.datasets",
        f"{_PML}.datasets",
    ),
    "scenario": _sources(
        "pml_incremental.scenarios:ClassIncrementalScenario", "pml_incremental.scenarios"
    ),
    "transform": _sources(
        "builtins:object", "pml_incremental.transforms", "torchvision.transforms"
    ),
    "model": _sources(_MODULE, "pml_incremental.models", "torchvision.models", "torch.nn"),
    "adapter": _sources("peft:PeftConfig", "peft"),
    "loss": (
        *_sources(_MODULE, "pml_incremental.losses", f"{_PML}.losses"),
        Source("torch.nn", "torch.nn.modules.loss:_Loss"),
    ),
    "miner": _sources(_MODULE, f"{_PML}.miners"),
    "sampler": _sources("torch.utils.data:Sampler", f"{_PML}.samplers", "torch.utils.data"),
    "distance": _sources(_MODULE, f"{_PML}.distances"),
    "reducer": _sources(_MODULE, f"{_PML}.reducers"),
    "regularizer": _sources(_MODULE, f"{_PML}.regularizers"),
    "optimizer": _sources("torch.optim:Optimizer", "torch.optim"),
    "lr_scheduler": _sources("torch.optim.lr_scheduler:LRScheduler", "torch.optim.lr_scheduler"),
    "trainer": _sources(f"{_PML}.trainers:BaseTrainer", "pml_incremental.trainers"),
    "tester": _sources(f"{_PML}.testers:BaseTester", "pml_incremental.testers"),
    "record_writer": _sources("builtins:object", "pml_incremental.records.writers"),
    "estimator": _sources(
        "pml_incremental.estimators:FeatureEstimator", "pml_incremental.estimators"
    ),
    "strategy": _sources("builtins:object", "pml_incremental.strategies"),
}
_LEFT_OUT = (
    # abstract
    *("Dataset", "FeatureEstimator", "GenericPairLoss", "LRScheduler", "Module", "Optimizer"),
    *("PeftConfig", "PromptLearningConfig", "Sampler"),
    "ReduceLROnPlateau",  # waits for validation results that the task loop does not give
)
PLURALS = {
    name: name.removesuffix("y") + ("ies" if name[-1] == "y" else "s") for name in CATEGORIES
}
PLURALS["loss"] = "losses"


def resolve(category: str, name: str) -> Any:
    """The class, or the function that builds one, that a config names.

    Args:
        category: a key of ``CATEGORIES``.
        name: a name in one of the category's modules, or ``module:Class``; of a strategy, also
            several joined by ``+``.

    Returns:
        A callable.

    Raises:
        ConfigError: if there is none, with the nearest names.

    Example:
        >>> resolve("optimizer", "Adam").__module__
        'torch.optim.adam'
        >>> resolve("optimizer", "collections:OrderedDict").__name__
        'OrderedDict'
    """
    if is_sum(category, name):
        return sum_factory(name, lambda part: resolve(category, part))
    if ":" in name:
        return _import(name)
    found = {key: member for key, _, member in members(category)}
    if name not in found:
        what = f"there is no {category.replace('_', ' ')} {name!r}"
        raise ConfigError([f"{what}; {_suggest_name(category, name, list(found))}"])
    return found[name]


def members(category: str) -> Iterator[tuple[str, str, Any]]:
    """What a category offers."""
    if category not in CATEGORIES:
        raise ValueError(f"there is no category {category!r}; {suggest(category, CATEGORIES)}")
    if category == "adapter":
        require("peft", "models.adapter", "peft", "models.adapter=null to train all of the trunk")
    seen: set[str] = set()
    for source in CATEGORIES[category]:
        module = importlib.import_module(source.module)
        names = module.STRATEGIES if category == "strategy" else vars(module)
        package = source.module.split(".")[0]
        base = _import(source.base)
        for name, member in names.items():
            fits = category == "strategy" or _is_member(name, member, base, package)
            if fits and name not in seen:
                seen.add(name)
                yield name, package, member


def offers(category: str, name: str, member: Any) -> bool:
    """Whether a category's modules could offer a member under a name, wherever it was found."""
    return any(
        _is_member(name, member, _import(source.base), source.module.split(".")[0])
        for source in CATEGORIES[category]
    )


def _is_member(name: str, member: Any, base: type, package: str) -> bool:
    if name.startswith(("_", "Base")) or name.endswith("Mixin") or name in _LEFT_OUT:
        return False
    if not getattr(member, "__module__", "").startswith(package):
        return False
    if inspect.isclass(member):
        return issubclass(member, base) and not issubclass(member, enum.Enum)
    return inspect.isfunction(member) and _builds_network(name, member, package)


def _builds_network(name: str, function: Any, package: str) -> bool:
    """Whether a function makes a network: torchvision's, such as ``resnet18``, or ours."""
    if package == "torchvision":
        from torchvision.models import list_models

        return name in list_models()
    if not function.__module__.startswith("pml_incremental.models."):
        return False
    from torch.nn import Module

    hints = typing.get_type_hints(function)
    # What takes a network changes one instead.
    return hints.pop("return", None) is Module and Module not in hints.values()


def _import(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        where = "it is searched for in the working folder and among installed packages"
        raise ConfigError([f"cannot import {module_name!r}: {error}; {where}"]) from error
    except ValueError as error:  # such as an empty module name
        raise ConfigError(
            [f"{name!r} is not module:Class: {error}; write my_pkg.mod:Class"]
        ) from error
    if not callable(getattr(module, attribute, None)):
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        what = f"{module_name!r} has no class {attribute!r}"
        raise ConfigError([f"{what}; {suggest(attribute, names)}"])
    return getattr(module, attribute)


def _suggest_name(category: str, name: str, names: list[str]) -> str:
    found = suggest(name, names)
    if not found.startswith("known") or len(names) <= 5:
        return found
    return (
        f"'pml-incremental list {PLURALS[category]}' shows all; your own is written "
        f"my_module:{name}"
    )


def is_sum(category: str, name: str) -> bool:
    """Whether a name stands for a sum."""
    return category == "strategy" and "+" in name


def split_sum(name: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a sum, each with its options."""
    parts = [part.strip() for part in name.split("+")]
    problems = [f"{part!r} is in {name} twice; remove one" for part in _repeated(parts)]
    for key, options in kwargs.items():
        if key not in parts:
            where = f"write {name}: {{{parts[0]}: {{...}}}}"
            problems.append(f"{key!r} is not part of {name}; {suggest(key, parts)}; {where}")
        elif options is not None and not isinstance(options, dict):
            problems.append(f"the options of {key} must be a mapping, got {options!r}")
    if problems:
        raise ConfigError(problems)
    for part in parts:
        yield part, kwargs.get(part) or {}


def sum_factory(name: str, find: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that builds a sum from the options of its parts."""
    factories = {part: find(part) for part, _ in split_sum(name, {})}

    def build(**options: Any) -> Any:
        return reduce(add, (factories[part](**kw) for part, kw in split_sum(name, options)))

    return build


def _repeated(parts: list[str]) -> list[str]:
    return sorted({part for part in parts if parts.count(part) > 1})
