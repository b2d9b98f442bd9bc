import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
import torch
from torchvision.models import ResNet18_Weights
from torchvision.transforms import InterpolationMode

from pml_incremental.signatures import as_argument, find_mismatch

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
