"""Building what is cheap to build, to find values that a class refuses."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from pml_incremental.config.objects import ObjectSpec


def _parameters() -> dict[str, Any]:
    import torch

    return {"params": [torch.nn.Parameter(torch.zeros(1, 1))]}


def _training() -> dict[str, Any]:
    import torch
    from pytorch_metric_learning.losses import TripletMarginLoss

    models = {name: torch.nn.Linear(1, 1) for name in ("trunk", "embedder")}
    return {
        "models": models,
        "optimizers": {
            f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr=1.0)
            for name, model in models.items()
        },
        "loss_funcs": {"metric_loss": TripletMarginLoss()},
        "mining_funcs": {},
        "dataset": [(torch.zeros(1), 0)],
        "batch_size": 1,
        "data_device": torch.device("cpu"),
        "dataloader_num_workers": 0,
    }


def _training_with_classifier() -> dict[str, Any]:
    import torch

    classifier, parts = torch.nn.Linear(1, 1), _training()
    parts["models"]["classifier"] = classifier
    parts["optimizers"]["classifier_optimizer"] = torch.optim.SGD(classifier.parameters(), lr=1.0)
    parts["loss_funcs"]["classifier_loss"] = torch.nn.CrossEntropyLoss()
    return parts


# Stand-ins for what the program fills in. Other categories read files, load weights or need data.
_STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "loss": lambda: {"num_classes": 2, "embedding_size": 8},
    "miner": dict,
    "transform": dict,
    "optimizer": _parameters,
    "strategy": dict,
}
# Of trainers those that are known to look at no more than that.
_TRAINERS: dict[str, Callable[[], dict[str, Any]]] = {
    "IncrementalMetricLoss": _training,
    "IncrementalTrainWithClassifier": _training_with_classifier,
}


def find_trial_problem(category: str, name: str, kwargs: dict[str, Any]) -> str | None:
    """Why an object cannot be built, if so."""
    stand_ins = _TRAINERS.get(name) if category == "trainer" else _STAND_INS.get(category)
    if stand_ins is None:
        return None
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            ObjectSpec(class_name=name, kwargs=kwargs).build(category, **stand_ins())
        except Exception as error:  # noqa: BLE001  # PML raises bare Exceptions too
            return f"cannot be built: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    """What the error says or, for a bare assert, the line that was not true."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return " ".join(str(error).split()) or f"{line} ({type(error).__name__})"
