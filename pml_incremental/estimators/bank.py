"""What is kept of all prior models."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pml_incremental.estimators._checks import SIZES, Sizes, check_change_of_teacher, model_names
from pml_incremental.estimators.base import FeatureEstimator
from pml_incremental.estimators.registry import build_estimator, class_path
from pml_incremental.functional.checks import widen
from pml_incremental.storage import read_tensor_file, write_tensor_file

_KEY = "estimator_bank"
_MASK = (1 << 64) - 1
_FORMAT = 1


class EstimatorBank:
    """Estimators of the models before the teacher, brought up to date once for each task.

    Models are numbered by the task they have learned. While task t is learned the teacher is
    M_{t-1} and the bank stands for M_1 .. M_{t-2}, so it is empty in the first two tasks. When the
    teacher changes from M_{t-1} to M_t, both are run on the same images and ``update`` takes in
    their features: the estimator of M_{t-1} learns from them directly; those of the older models
    learn from what they themselves estimate from M_{t-1}. No feature outlives its batch.

    The images may be those of the task just learned or, nearer to what the estimates will be
    used for, those of the task about to be learned, if M_{t-1} is kept until they are there.

    A plain object and no module: nothing that walks through losses or models finds it.

    Args:
        estimator: an estimator that has observed nothing, its name, ``module:Class`` or
            ``{name: {arguments}}``.
        seed: for estimators that draw random numbers.
        embedding_width: d, if features hold more columns behind the embeddings; None if they are
            embeddings and nothing else.

    Raises:
        ValueError: if there is no estimator of that name or an argument is out of range.

    Example:
        >>> bank = EstimatorBank("LinearEstimator")
        >>> old, new = torch.randn(64, 8), torch.randn(64, 8)
        >>> bank.update([(old[:32], new[:32]), (old[32:], new[32:])])
        >>> len(bank), bank.estimate(new).shape
        (1, torch.Size([1, 64, 8]))
        >>> bank.update([(new, torch.randn(64, 8))])
        >>> len(bank)
        2
    """

    def __init__(
        self,
        estimator: FeatureEstimator | str | Mapping[str, Mapping[str, Any] | None] = (
            "LinearEstimator"
        ),
        seed: int = 0,
        embedding_width: int | None = None,
    ) -> None:
        if embedding_width is not None and embedding_width < 1:
            raise ValueError(f"embedding_width must be at least 1, got {embedding_width}")
        self._template = build_estimator(estimator)
        self._estimator: FeatureEstimator | None = None
        self._draws = Draws(seed)
        self.embedding_width = embedding_width

    def __len__(self) -> int:
        """Number K of prior models, M_1 .. M_K."""
        return 0 if self._estimator is None else self._estimator.sizes.models

    def update(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Add the teacher that is about to leave, and carry the older models over to the next one.

        Args:
            batches: pairs of features of the same images: of M_{t-1}, shape (N, D), and of M_t,
                shape (N, D'). Each is asked for once and then forgotten, so a generator will do.

        Raises:
            ValueError: if there is no batch, or features are not finite, not paired or of another
                width than before, naming the model and the batch. The bank is then as before.
        """
        successor, draws = self._template.fresh(), copy.copy(self._draws)
        sizes = None if self._estimator is None else self._estimator.sizes
        number = 0
        for number, (prior, current) in enumerate(batches, 1):
            width = check_change_of_teacher(prior, current, self.embedding_width, sizes, number)
            targets = prior[:, :width].unsqueeze(0)
            if self._estimator is not None:
                older = self._estimator.carry_over(prior, draws.next(prior.device))
                targets = torch.cat([older, targets.to(older)])
            successor.observe(targets, current)
        if number == 0:
            raise ValueError(f"there is no batch to learn M_{len(self) + 1} from")
        successor.fit()
        self._estimator, self._draws = successor, draws

    def estimate(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What each prior model would embed.

        Args:
            features: of the teacher, shape (N, D), as ``update`` had them.
            generator: for random draws, on the device of the features. Default: the bank's own,
                which is seeded and part of its state.

        Returns:
            Shape (K, N, d), oldest model first, float32 or wider, without gradient.

        Raises:
            ValueError: if the features have another width, naming the prior models.
        """
        if self._estimator is None:
            width = self.embedding_width or features.shape[1]
            return widen(features.detach()).new_empty(0, len(features), width)
        if generator is None and self._estimator.is_random:
            generator = self._draws.next(features.device)
        return self._estimator.estimate(features, generator)

    def set_ranges(self, ranges: Mapping[int, tuple[float, float]]) -> None:
        """Set the ranges that AccuracyChangeEstimator draws from; needed after each update.

        Args:
            ranges: (low, high) by number of the prior model.

        Raises:
            TypeError: if the estimator takes no ranges, as ``needs_ranges`` tells.
            ValueError: if low is above high or the bank does not hold the model, naming it.
        """
        if self._estimator is not None:
            self._estimator.set_ranges(ranges)
        elif ranges:
            raise ValueError(f"the bank is empty and does not hold M_{min(ranges)}")

    @property
    def needs_ranges(self) -> bool:
        """Whether ``set_ranges`` must follow each ``update``."""
        return self._template.needs_ranges

    @property
    def nbytes(self) -> int:
        """Bytes kept for all prior models together."""
        return 0 if self._estimator is None else self._estimator.nbytes

    def state_dict(self) -> dict[str, Any]:
        """All there is to know of the bank: plain values, and tensors under ``"tensors"``."""
        return {
            **self._description(),
            "prior_models": len(self),
            "seed": self._draws.seed,
            "draws": self._draws.count,
            "tensors": {} if self._estimator is None else self._estimator.state_dict(),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], width: int | None = None, prior_models: int | None = None
    ) -> None:
        """Continue where another bank was, random draws included.

        Args:
            state: what ``state_dict`` returned.
            width: the embedding width d that is expected; None for any.
            prior_models: the number of prior models that is expected; None for any.

        Raises:
            ValueError: if the state is of another estimator, other arguments of it, another
                width or number of prior models, naming them. The bank is then as before.
        """
        check_state(state, self._description(), width, prior_models)
        estimator = None
        if state["prior_models"]:
            estimator = self._template.fresh()
            estimator.load_state_dict(state["tensors"])
        self._estimator = estimator
        self._draws = Draws(state["seed"], state["draws"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bank to a safetensors file.

        Args:
            path: the file; its folder must exist.
        """
        write_bank(path, self.state_dict())

    def load(
        self,
        path: str | os.PathLike[str],
        width: int | None = None,
        prior_models: int | None = None,
    ) -> None:
        """Read what ``save`` wrote; arguments and errors as in ``load_state_dict``.

        Args:
            path: the file.
            width: the embedding width d that is expected; None for any.
            prior_models: the number of prior models that is expected; None for any.

        Raises:
            FileNotFoundError: if there is no file.
            ValueError: if the file is no bank or not the expected one.
        """
        state = read_bank(path)
        try:
            self.load_state_dict(state, width, prior_models)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _description(self) -> dict[str, Any]:
        """What two banks must share to continue each other."""
        return {
            "format": _FORMAT,
            "estimator": class_path(type(self._template)),
            "hyperparameters": self._template.hyperparameters,
            "embedding_width": self.embedding_width,
        }


@dataclass
class Draws:
    """A seed and a count: the n-th draw is the same whatever happened in between.

    The state of a torch generator depends on the kind of device; two integers do not.
    """

    seed: int = 0
    count: int = 0

    def next(self, device: torch.device | str) -> torch.Generator:
        """The generator for the next draw."""
        generator = torch.Generator(device).manual_seed(_mix(_mix(self.seed) + self.count))
        self.count += 1
        return generator


def _mix(number: int) -> int:
    """SplitMix64 (Steele et al., 2014): neighbours become unrelated 64-bit numbers."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


def write_bank(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state to safetensors, with everything but the tensors as JSON.

    A file that is there is replaced only when all is written.
    """
    plain = {name: value for name, value in state.items() if name != "tensors"}
    write_tensor_file(Path(path), state["tensors"], {_KEY: plain})


def read_bank(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that :func:`write_bank` wrote."""
    remedy = "write it with EstimatorBank.save"
    tensors, state = read_tensor_file(Path(path), remedy)
    if _KEY not in (state or {}):
        raise ValueError(f"{path} has no estimator bank: {remedy}")
    return {**state[_KEY], "tensors": tensors}


def check_state(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    width: int | None = None,
    prior_models: int | None = None,
) -> None:
    """Raise unless a bank can continue from a state."""
    count = state["prior_models"]
    names = model_names(count) if count else "no model"
    if prior_models is not None and count != prior_models:
        expected = model_names(prior_models) if prior_models else "none"
        raise ValueError(
            f"the bank holds estimates of {names}, expected {expected}: it belongs to another task"
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
