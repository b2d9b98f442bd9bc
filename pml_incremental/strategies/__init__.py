"""Named methods against forgetting, and what they are made of."""

from pml_incremental.strategies import (  # noqa: F401  # these register the names
    baselines as _baselines,
)
from pml_incremental.strategies import logits as _logits  # noqa: F401
from pml_incremental.strategies import positions as _positions  # noqa: F401
from pml_incremental.strategies import similarities as _similarities  # noqa: F401
from pml_incremental.strategies.component import Component, FinishedTask, WeightedLoss
from pml_incremental.strategies.distillation import Distillation
from pml_incremental.strategies.strategy import STRATEGIES, Images, Strategy, register_strategy

__all__ = [
    "STRATEGIES",
    "Component",
    "Distillation",
    "FinishedTask",
    "Images",
    "Strategy",
    "WeightedLoss",
    "register_strategy",
]
