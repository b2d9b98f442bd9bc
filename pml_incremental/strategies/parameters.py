"""Strategies that hold the parameters that matter to the old classes."""

from __future__ import annotations

from pml_incremental.regularizers import EWC, MAS, OnlineEWC, SynapticIntelligence
from pml_incremental.strategies.parameter_penalty import ParameterPenalty
from pml_incremental.strategies.strategy import Strategy, register_strategy


@register_strategy("ewc")
def ewc(weight: float = 1e4) -> Strategy:
    """Hold parameters by their Fisher information (elastic weight consolidation).

    Kirkpatrick et al., PNAS 2017.

    Args:
        weight: lambda; ours. The Fisher information is that of a metric loss per batch, far below
            that of a classifier per image, for which the paper has weights around 1000.

    Example:
        >>> [component.name for component in ewc().components]
        ['ewc_loss']
    """
    return Strategy((ParameterPenalty("ewc_loss", EWC(), weight),))


@register_strategy("online-ewc")
def online_ewc(weight: float = 1e4, decay: float = 0.95) -> Strategy:
    """Hold parameters by a running Fisher information around the latest model.

    Schwarz et al., ICML 2018.

    Args:
        weight: lambda; ours, that of ``ewc``.
        decay: gamma, from 0 (only the last task counts) to 1 (all count alike).

    Example:
        >>> [component.name for component in online_ewc().components]
        ['online_ewc_loss']
    """
    return Strategy((ParameterPenalty("online_ewc_loss", OnlineEWC(decay), weight),))


@register_strategy("mas")
def mas(weight: float = 1.0) -> Strategy:
    """Hold parameters by how much the output's size depends on them (memory aware synapses).

    Args:
        weight: lambda (1 in Aljundi et al., ECCV 2018).

    Example:
        >>> [component.name for component in mas().components]
        ['mas_loss']
    """
    return Strategy((ParameterPenalty("mas_loss", MAS(), weight),))


@register_strategy("si")
def si(weight: float = 1.0, damping: float = 0.1) -> Strategy:
    """Hold parameters by what their moves did for the loss (synaptic intelligence).

    Watches every step of the first task too, which is therefore learned apart from the other
    strategies' (from the same start and with the same random draws).

    Args:
        weight: c (1 for split MNIST and 0.1 for permuted MNIST in Zenke et al., ICML 2017).
        damping: xi of the importances.

    Example:
        >>> si().shares_first_task
        False
    """
    return Strategy((ParameterPenalty("si_loss", SynapticIntelligence(damping), weight),))
