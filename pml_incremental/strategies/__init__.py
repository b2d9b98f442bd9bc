"""Named methods against forgetting, and what they are made of."""

# These register the names.
from pml_incremental.strategies import alignment as _alignment  # noqa: F401
from pml_incremental.strategies import fecd as _fecd  # noqa: F401
from pml_incremental.strategies import function_matching as _function_matching  # noqa: F401
from pml_incremental.strategies import lora as _lora  # noqa: F401
from pml_incremental.strategies import parameters as _parameters  # noqa: F401
from pml_incremental.strategies import replay as _replay  # noqa: F401
from pml_incremental.strategies import weight_merging as _weight_merging  # noqa: F401
from pml_incremental.strategies.alignment import Aligned, align_embeddings
from pml_incremental.strategies.component import (
    Component,
    FinishedTask,
    TrainedModel,
    WeightedLoss,
    WeightedPenalty,
)
from pml_incremental.strategies.distillation import Distillation
from pml_incremental.strategies.parameters import ParameterPenalty
from pml_incremental.strategies.strategy import STRATEGIES, Images, Strategy, register_strategy

__all__ = [
    "STRATEGIES",
    "Aligned",
    "Component",
    "Distillation",
    "FinishedTask",
    "Images",
    "ParameterPenalty",
    "Strategy",
    "TrainedModel",
    "WeightedLoss",
    "WeightedPenalty",
    "align_embeddings",
    "register_strategy",
]
