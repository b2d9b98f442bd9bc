"""Named methods: which losses and memories hold on to the old classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pml_incremental.strategies.component import Component


@dataclass(frozen=True)
class Strategy:
    """A method with a name.

    Args:
        components: what the method adds to plain training on the new images; none is fine-tuning.

    Example:
        >>> Strategy()
        Strategy(components=())
    """

    components: tuple[Component, ...] = ()


STRATEGIES: dict[str, Callable[..., Strategy]] = {}


def register_strategy(
    name: str,
) -> Callable[[Callable[..., Strategy]], Callable[..., Strategy]]:
    """Decorator that makes a strategy known by name to configs and the command line.

    Args:
        name: how configs write it.

    Returns:
        A decorator for a function that takes the strategy's options and returns a new
        :class:`Strategy`.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> @register_strategy("nothing")
        ... def nothing() -> Strategy:
        ...     '''Do nothing about forgetting.'''
        ...     return Strategy()
        >>> STRATEGIES.pop("nothing") is nothing
        True
    """

    def register(factory: Callable[..., Strategy]) -> Callable[..., Strategy]:
        if name in STRATEGIES:
            raise ValueError(f"a strategy named {name!r} is registered already: choose another")
        STRATEGIES[name] = factory
        return factory

    return register
