from __future__ import annotations

import inspect
import pydoc
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from pytorch_metric_learning import distances, losses, miners, samplers

from pml_incremental.losses import CorrelationDistillationLoss, SimilarityPreservingLoss
from pml_incremental.signatures import signature_of
from pml_incremental.testers import IncrementalTester, RecallCalculator
from pml_incremental.trainers import IncrementalMetricLoss


@pytest.mark.parametrize(
    ("target", "required", "some"),
    [
        (losses.TripletMarginLoss, [], {"margin", "distance", "reducer", "embedding_regularizer"}),
        (losses.ArcFaceLoss, ["num_classes", "embedding_size"], {"margin", "weight_regularizer"}),
        # *args and **kwargs only, with the required ones in the parent
        (losses.CosFaceLoss, ["num_classes", "embedding_size"], {"margin", "scale"}),
        (losses.CrossBatchMemory, ["loss", "embedding_size"], {"memory_size"}),
        (samplers.MPerClassSampler, ["labels", "m"], {"batch_size"}),
        (torch.optim.Adam, ["params"], {"lr", "betas"}),
        (torchvision.models.resnet18, [], {"weights", "num_classes", "zero_init_residual"}),
        (
            IncrementalMetricLoss,
            ["models", "optimizers", "batch_size", "loss_funcs", "dataset"],
            {"teacher"},
        ),
        (torch.nn.Identity, [], set()),
    ],
)
def test_arguments_of_real_classes(target: Any, required: list[str], some: set[str]) -> None:
    signature = signature_of(target)
    assert sorted(signature.required) == sorted(required)
    assert some <= signature.parameters.keys()
    assert not signature.is_open or target is torch.nn.Identity


@pytest.mark.parametrize(
    ("target", "fixed"),
    [
        (losses.CircleLoss, "mat_based_loss"),
        (miners.BatchHardMiner, "pos_strategy"),
        (distances.CosineSimilarity, "normalize_embeddings"),
        (distances.CosineSimilarity, "is_inverted"),
        (torchvision.models.resnet18, "layers"),
    ],
)
def test_what_a_class_sets_for_its_parent_cannot_be_set_again(target: Any, fixed: str) -> None:
    assert fixed not in signature_of(target).parameters


class Base:
    def __init__(self, first: int, second: str = "b", *, third: float = 1.0) -> None: ...


class Positional(Base):
    def __init__(self, own: int = 0, **kwargs: Any) -> None:
        super().__init__(1, **kwargs)


class Named(Base):
    def __init__(self, **kwargs: Any) -> None:
        Base.__init__(self, first=1, **kwargs)


class Shadowing(Base):
    def __init__(self, second: int, **kwargs: Any) -> None:
        super().__init__(second=str(second), **kwargs)


class Silent(Shadowing):
    pass


class Keeping(Base):
    def __init__(self, **options: Any) -> None:
        super().__init__(1)
        self.options = options


class Reading(Base):
    def __init__(self, **kwargs: Any) -> None:
        self.own = kwargs["own"]
        self.extra = kwargs.pop("extra", 1)
        del kwargs["own"]
        super().__init__(first=1, **kwargs)


@dataclass
class Data:
    x: int
    y: int = 0


class Pair(NamedTuple):
    x: int
    y: int = 0


def factory(a: int, **kwargs: Any) -> torch.nn.Module:
    return torch.nn.Linear(a, **kwargs)


def wrapper(a: int, **kwargs: Any) -> Base:
    return Base(a, **kwargs)


@pytest.mark.parametrize(
    ("target", "names", "is_open"),
    [
        (Base, ["first", "second", "third"], False),
        (Positional, ["own", "second", "third"], False),
        (Named, ["second", "third"], False),
        (Shadowing, ["first", "second", "third"], False),
        (Silent, ["first", "second", "third"], False),
        (Keeping, [], True),
        (Reading, ["extra", "own", "second", "third"], False),
        (Data, ["x", "y"], False),
        (Pair, ["x", "y"], False),
        (factory, ["a"], True),
        (wrapper, ["a", "second", "third"], False),
    ],
)
def test_following_kwargs(target: Any, names: list[str], is_open: bool) -> None:
    signature = signature_of(target)
    assert sorted(signature.parameters) == names
    assert signature.is_open is is_open
    assert signature_of(Reading).required == ["own"]  # as it is indexed in kwargs


def test_annotations_are_evaluated() -> None:
    parameters = signature_of(Shadowing).parameters
    assert parameters["second"].annotation is int
    assert parameters["third"].annotation is float
    assert parameters["second"].default is inspect.Parameter.empty


@pytest.mark.parametrize(
    ("target", "first", "some"),
    [
        (IncrementalMetricLoss, ["models", "optimizers", "batch_size"], {"teacher", "precision"}),
        (IncrementalTester, ["normalize_embeddings"], {"ks", "batch_size"}),
        (RecallCalculator, ["ks"], {"avg_of_avgs"}),
        (CorrelationDistillationLoss, ["temperature", "target"], {"reducer"}),
        (SimilarityPreservingLoss, ["embedding_regularizer"], {"reducer"}),
    ],
)
def test_help_shows_all_arguments(target: Any, first: list[str], some: set[str]) -> None:
    found = inspect.signature(target).parameters
    assert list(found)[: len(first)] == first
    assert some <= found.keys()
    assert not {"args", "kwargs"} & found.keys()
    lines = pydoc.render_doc(target, renderer=pydoc.plaintext).splitlines()
    assert any(line.startswith(f" |  {target.__name__}({first[0]}") for line in lines[:5])


def test_what_is_shown_can_be_passed() -> None:
    """By place where that is shown, else by name."""
    loss = CorrelationDistillationLoss(2.0, "teacher", reducer=None)
    assert loss.temperature == 2
    bound = inspect.signature(CorrelationDistillationLoss).bind(2.0, "teacher", reducer=None)
    assert bound.arguments["temperature"] == 2
    with pytest.raises(TypeError):
        inspect.signature(CorrelationDistillationLoss).bind(2.0, "teacher", None, None, None)
    # Of an object that is called, it is that of the call.
    assert "embeddings" in inspect.signature(loss.forward).parameters
    assert "temperature" not in str(inspect.signature(loss))
