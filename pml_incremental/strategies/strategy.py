"""Named methods: which losses and memories hold on to the old classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pml_incremental.strategies.component import Component

#: Which training images a task is learned from: none, its own, or those of all tasks so far.
Images: TypeAlias = Literal["none", "new", "seen"]


@dataclass(frozen=True)
class Strategy:
    """A method with a name.

    Strategies are added with ``+``: the sum has the components of both.

    Args:
        components: what the method adds to plain training on the new images; none is fine-tuning.
        first_images: what the first task is learned from, ``"none"`` or ``"new"``.
        later_images: what each further task is learned from, ``"none"``, ``"new"`` or ``"seen"``.
        trained_start: whether the model before the first task has learned classes to hold on to,
            so that the first task is learned as further ones are.

    Raises:
        ValueError: if one never trains on later tasks and the other has components, as these could
            do nothing.

    Example:
        >>> Strategy().images_of(task_number=2)
        'new'
        >>> (Strategy() + Strategy(later_images="seen")).images_of(2)
        'seen'
    """

    components: tuple[Component, ...] = ()
    first_images: Images = "new"
    later_images: Images = "new"
    trained_start: bool = False

    def __post_init__(self) -> None:
        if self.components and "none" in (self.first_images, self.later_images):
            raise ValueError(
                "a strategy that does not train on every task cannot have components (losses, "
                "penalties, memories), which only act in training: leave out one or the other"
            )

    def __add__(self, other: Strategy) -> Strategy:
        return Strategy(
            self.components + other.components,
            _wider(self.first_images, other.first_images),
            _wider(self.later_images, other.later_images),
        )

    def images_of(self, task_number: int) -> Images:
        """Which training images a task, counted from 1, is learned from."""
        is_first = task_number == 1 and not self.trained_start
        return self.first_images if is_first else self.later_images

    @property
    def shares_first_task(self) -> bool:
        """Whether its model after the first task is that of plain training."""
        is_plain = self.first_images == "new" and not self.trained_start
        return is_plain and not self.observes_training

    @property
    def observes_training(self) -> bool:
        """Whether a component must see the steps of every task."""
        return any(component.observes_training for component in self.components)

    @property
    def moves_teacher(self) -> bool:
        """Whether a component changes the teacher while a task is learned."""
        return any(component.moves_teacher for component in self.components)

    @property
    def caches_teacher(self) -> bool:
        """Whether a component keeps what the teacher says."""
        return any(component.caches_teacher for component in self.components)

    @property
    def has_teacher(self) -> bool:
        """Whether later tasks are learned beside the previous model.

        Not where all images seen are there and no component compares with it.
        """
        return self.later_images == "new" or bool(self.components)

    @property
    def needs_classifier(self) -> bool:
        """Whether it compares logits."""
        return any(component.needs_classifier for component in self.components)


STRATEGIES: dict[str, Callable[..., Strategy]] = {}


def register_strategy(
    name: str,
) -> Callable[[Callable[..., Strategy]], Callable[..., Strategy]]:
    """Decorator that makes a strategy known by name to configs and the command line.

    Args:
        name: how configs write it; without ``+``, which joins names.

    Returns:
        A decorator for a function that takes the strategy's options and returns a new
        :class:`Strategy`.

    Raises:
        ValueError: if the name is taken or has a ``+``.

    Example:
        >>> @register_strategy("nothing")
        ... def nothing() -> Strategy:
        ...     '''Do nothing about forgetting.'''
        ...     return Strategy()
        >>> STRATEGIES.pop("nothing") is nothing
        True
    """
    if "+" in name:
        raise ValueError(f"{name!r} reads as a sum of strategies: leave out the +")

    def register(factory: Callable[..., Strategy]) -> Callable[..., Strategy]:
        if name in STRATEGIES:
            raise ValueError(f"a strategy named {name!r} is registered already: choose another")
        STRATEGIES[name] = factory
        return factory

    return register


def _wider(first: Images, second: Images) -> Images:
    """The images that two parts of a sum are learned from together."""
    if "none" in (first, second) and first != second:
        raise ValueError(
            "one part of the sum trains on a task and the other does not: pretrained and frozen "
            "stand alone"
        )
    return "seen" if "seen" in (first, second) else first


@register_strategy("finetune")
def finetune() -> Strategy:
    """Train on the new images and do nothing about forgetting.

    Example:
        >>> finetune().components
        ()
    """
    return Strategy()


@register_strategy("pretrained")
def pretrained() -> Strategy:
    """Never train: what the model finds that training starts from.

    Example:
        >>> pretrained().images_of(task_number=1)
        'none'
    """
    return Strategy(first_images="none", later_images="none")


@register_strategy("frozen")
def frozen() -> Strategy:
    """Train on the first task alone: nothing is forgotten, nothing new is learned.

    Example:
        >>> frozen().images_of(1), frozen().images_of(2)
        ('new', 'none')
    """
    return Strategy(later_images="none")


@register_strategy("joint")
def joint() -> Strategy:
    """Train on the images of all tasks seen so far: the upper bound, which keeps all old images.

    Starts from the previous model, so a later task trains as many epochs as with any other
    strategy, over more images.

    Example:
        >>> joint().images_of(2)
        'seen'
    """
    return Strategy(later_images="seen")
