from __future__ import annotations

import inspect
import os
import pydoc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import pytest
import torch
import torchvision
from pytorch_metric_learning import distances, losses, miners, samplers
from torchvision.models import ResNet18_Weights
from torchvision.transforms import InterpolationMode

from pml_incremental.losses import CorrelationDistillationLoss, SimilarityPreservingLoss
from pml_incremental.signatures import as_argument, find_mismatch, signature_of
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


EMPTY = inspect.Parameter.empty


def parameter(annotation=EMPTY, default=EMPTY):
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter("x", kind, annotation=annotation, default=default)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, [1, -1], [1.5, "1", True, None, [1]]),
        (float, [1, 1.5, float("inf")], ["1", True, None]),
        (bool, [True], [1, "yes", None]),
        (str, ["a"], [1, None]),
        (Optional[int], [1, None], ["1"]),  # noqa: UP045
        (Sequence[int], [[1, 2]], [1, ["a"], "ab"]),
        (tuple[float, float], [[0.9, 0.99]], [[0.9], 0.9]),
        (Iterable[int], [[1, 2]], [3]),
        (Literal["a", "b"], ["a"], ["c", 1]),
        (bool | Literal["with_teacher"], [True, "with_teacher"], ["x", 1]),
        (Union[str, Path], ["data"], [1]),  # noqa: UP007
        (str | os.PathLike[str], ["data"], [1]),
        (float | torch.Tensor, [0.1, 1], ["0.1", True]),
        (dict[str, int], [{"a": 1}], [{"a": "b"}, []]),
        (Callable[[Any], Any], [], ["f", 1]),
        (torch.Tensor, [], [1, [1.0]]),
    ],
)
def test_annotations_decide(annotation, good, bad):
    for value in good:
        assert find_mismatch(parameter(annotation), value) is None
    for value in bad:
        message = find_mismatch(parameter(annotation), value)
        assert message is not None
        assert message.endswith(f"got {value!r} ({type(value).__name__})")


@pytest.mark.parametrize(
    ("default", "good", "bad"),
    [
        (0.05, [1, 0.5], ["0.1", True, [1], None]),
        (4, [8, 0.5], ["4", False]),
        (False, [True], [1, "yes"]),
        ("all", ["hard"], [1]),
        ((0, 1), [[1, 2]], [1, "a"]),
        (None, [None, 1, "a"], []),
        (print, [1, "a"], []),
        (EMPTY, [1, "a", None], []),
    ],
)
def test_defaults_decide_without_annotation(default, good, bad):
    for value in good:
        assert find_mismatch(parameter(default=default), value) is None
    for value in bad:
        assert find_mismatch(parameter(default=default), value) is not None
        assert find_mismatch(parameter(default=default), value, trust_default=False) is None


def test_none_is_fine_where_it_is_the_default():
    assert find_mismatch(parameter(int, None), None) is None


@pytest.mark.parametrize("annotation", ["Unknown", list["Unknown"], Any])  # noqa: F821
def test_annotations_that_mean_nothing_leave_it_to_the_default(annotation):
    assert find_mismatch(parameter(annotation), "a") is None
    assert find_mismatch(parameter(annotation, 1.0), "a") == "must be a number, got 'a' (str)"


def test_messages_use_plain_words():
    assert find_mismatch(parameter(int), "a") == "must be a whole number, got 'a' (str)"
    assert find_mismatch(parameter(bool), 1) == "must be true or false, got 1 (int)"
    assert find_mismatch(parameter(int | None), "a") == "must be int | None, got 'a' (str)"


@pytest.mark.parametrize(
    ("known", "value", "member"),
    [
        (parameter(default=InterpolationMode.NEAREST), "BILINEAR", InterpolationMode.BILINEAR),
        (parameter(default=InterpolationMode.NEAREST), "bilinear", InterpolationMode.BILINEAR),
        (parameter(ResNet18_Weights | None, None), "DEFAULT", ResNet18_Weights.DEFAULT),
    ],
)
def test_enum_members_by_name_or_value(known, value, member):
    assert find_mismatch(known, value) is None
    assert as_argument(known, value) is member
    message = find_mismatch(known, "BILINEA")
    assert message is not None
    assert message.startswith("must be one of ")
    assert member.name in message


def test_other_arguments_pass_as_they_are():
    assert as_argument(parameter(int), 3) == 3
    assert as_argument(None, "a") == "a"
    assert as_argument(parameter(ResNet18_Weights | None, None), None) is None
