"""Strategies that keep embeddings, or their distribution, where they are."""

from __future__ import annotations

from pml_incremental.losses import EmbeddingDistillationLoss, MMDLoss
from pml_incremental.strategies.distillation import ProbeOptions, distil
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("l2")
def l2(weight: float = 1.0, probes: ProbeOptions = None) -> Strategy:
    """Hold each embedding where the previous task's model has it.

    The L2 baseline of Chen et al., IEEE TMM 2022.

    Args:
        weight: weight of the loss; ours.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in l2().components]
        ['l2_loss']
    """
    return distil("l2_loss", EmbeddingDistillationLoss("l2"), weight, probes)


@register_strategy("cosine")
def cosine(weight: float = 5.0, probes: ProbeOptions = None) -> Strategy:
    """Hold the direction of each embedding (the less-forget constraint of LUCIR).

    Args:
        weight: weight of the loss. 5 is that of Hou et al., CVPR 2019, for CIFAR-100, without its
            growth with the number of old classes.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in cosine().components]
        ['cosine_loss']
    """
    return distil("cosine_loss", EmbeddingDistillationLoss("cosine"), weight, probes)


@register_strategy("mmd")
def mmd(weight: float = 1.0, probes: ProbeOptions = None) -> Strategy:
    """Hold the distribution of a batch's embeddings near the previous model's.

    The maximum mean discrepancy of Chen et al., BMVC 2020; there beside logit distillation, which
    is ``mmd+lwf`` here.

    Args:
        weight: weight of the loss; ours.
        probes: images to compare the models on too, see :data:`ProbeOptions`; default: none.

    Example:
        >>> [component.name for component in mmd().components]
        ['mmd_loss']
    """
    return distil("mmd_loss", MMDLoss(), weight, probes)
