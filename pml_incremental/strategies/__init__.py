"""Named methods against forgetting, and what they are made of."""

from pml_incremental.strategies import named as _named  # noqa: F401  # registers them
from pml_incremental.strategies.component import Component, FinishedTask, WeightedLoss
from pml_incremental.strategies.distillation import Distillation
from pml_incremental.strategies.strategy import STRATEGIES, Strategy, register_strategy

__all__ = [
    "STRATEGIES",
    "Component",
    "Distillation",
    "FinishedTask",
    "Strategy",
    "WeightedLoss",
    "register_strategy",
]
