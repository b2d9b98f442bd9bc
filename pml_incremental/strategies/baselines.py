"""What every method is measured against: nothing against forgetting, no training, all the data."""

from __future__ import annotations

from pml_incremental.strategies.strategy import Strategy, register_strategy


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

    Goes on from the previous model, so a later task trains as many epochs as with any other
    strategy, over more images.

    Example:
        >>> joint().images_of(2)
        'seen'
    """
    return Strategy(later_images="seen")
