"""Finding estimators by the names that configs write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pml_incremental.by_name import find_by_name
from pml_incremental.estimators.base import FeatureEstimator

Estimator = TypeVar("Estimator", bound=FeatureEstimator)
ESTIMATORS: dict[str, type[FeatureEstimator]] = {}


def register_estimator(name: str) -> Callable[[type[Estimator]], type[Estimator]]:
    """A class decorator: make an estimator known by a name.

    Args:
        name: how configs call it.

    Returns:
        The decorator, which returns the class as it is.

    Raises:
        ValueError: if another class has the name.
        TypeError: if the class is no FeatureEstimator.

    Example:
        >>> from pml_incremental.estimators import DriftEstimator
        >>> @register_estimator("MyDrift")
        ... class MyDrift(DriftEstimator):
        ...     "Drift of my own."
        >>> type(build_estimator("MyDrift")).__name__
        'MyDrift'
        >>> del ESTIMATORS["MyDrift"]
    """

    def register(cls: type[Estimator]) -> type[Estimator]:
        _check_class(name, cls)
        if ESTIMATORS.setdefault(name, cls) is not cls:
            raise ValueError(f"the name {name!r} belongs to {class_path(ESTIMATORS[name])}")
        return cls

    return register


def build_estimator(
    spec: FeatureEstimator | str | Mapping[str, Mapping[str, Any] | None],
) -> FeatureEstimator:
    """An estimator from the form it has in configs.

    Args:
        spec: an estimator, which is returned; a registered name; ``module:Class``; or
            ``{name: {arguments}}``.

    Returns:
        The estimator.

    Raises:
        ValueError: if there is none of that name, with the nearest ones.
        TypeError: if the class is no FeatureEstimator or does not take the arguments.

    Example:
        >>> build_estimator({"LinearEstimator": {"rank": 64}}).rank
        64
    """
    if isinstance(spec, FeatureEstimator):
        return spec
    if isinstance(spec, str):
        return _find(spec)()
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise TypeError(f"an estimator is a name or {{name: {{arguments}}}}, got {spec!r}")
    ((name, kwargs),) = spec.items()
    return _find(name)(**(kwargs or {}))


def class_path(cls: type) -> str:
    """``module:Class``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _find(name: str) -> type[FeatureEstimator]:
    return _check_class(name, find_by_name("estimator", name, ESTIMATORS, own="module:Class"))


def _check_class(name: str, cls: Any) -> type[FeatureEstimator]:
    if not (isinstance(cls, type) and issubclass(cls, FeatureEstimator)):
        raise TypeError(f"{name!r} must be a subclass of FeatureEstimator, got {cls!r}")
    return cls
