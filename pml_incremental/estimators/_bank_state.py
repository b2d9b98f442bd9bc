"""The state of an estimator bank: what it must agree with, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pml_incremental.estimators._checks import SIZES, Sizes, model_names
from pml_incremental.storage import read_tensor_file, write_tensor_file

_KEY = "estimator_bank"


def write_bank(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state to safetensors, with everything but the tensors as JSON.

    A file that is there is replaced only when all is written.

    Args:
        path: the file; its folder must exist.
        state: plain values, and the tensors under ``"tensors"``.
    """
    plain = {name: value for name, value in state.items() if name != "tensors"}
    write_tensor_file(Path(path), state["tensors"], {_KEY: plain})


def read_bank(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that :func:`write_bank` wrote.

    Args:
        path: the file.

    Returns:
        The state, tensors on the CPU.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if the file is damaged or no estimator bank.
    """
    remedy = "write it with EstimatorBank.save"
    tensors, state = read_tensor_file(Path(path), remedy)
    if _KEY not in (state or {}):
        raise ValueError(f"{path} holds no estimator bank: {remedy}")
    return {**state[_KEY], "tensors": tensors}


def check_state(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    width: int | None = None,
    prior_models: int | None = None,
) -> None:
    """Raise unless a bank can continue from a state.

    Args:
        state: the state of a bank.
        own: the values that must be the same.
        width: the embedding width that is expected, if any is.
        prior_models: the number of prior models that is expected, if any is.
    """
    count = state["prior_models"]
    names = model_names(count) if count else "no model"
    if prior_models is not None and count != prior_models:
        expected = model_names(prior_models) if prior_models else "none"
        raise ValueError(
            f"the bank holds estimates of {names}, expected {expected}: it is of another task"
        )
    found = Sizes(*state["tensors"][SIZES].tolist()).width if count else width
    if width not in (None, found):
        raise ValueError(f"the estimates of {names} have width {found}, expected {width}")
    for name, value in own.items():
        # Through JSON, as a state from a file is: tuples become lists.
        if json.dumps(state[name], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise ValueError(
                f"the bank of {names} was made with {name} = {state[name]!r}, this one with "
                f"{value!r}: build it with the same"
            )
