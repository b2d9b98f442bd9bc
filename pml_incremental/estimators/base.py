"""What every estimator of prior models' features has in common."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pml_incremental.estimators._checks import (
    SIZES,
    Sizes,
    check_features,
    check_observation,
    check_tensors,
    split_state,
)
from pml_incremental.functional.checks import widen


class FeatureEstimator(ABC):
    r"""Estimates what prior models M_1 .. M_K would embed, from the current model's features.

    It stands for K prior models at once: every tensor it keeps has a first axis of length K, so
    that estimating for all of them is one batched operation. The life of an estimator:

    1. ``observe`` batches of images that both sides have seen, as often as there are batches;
    2. ``fit`` once, which turns the observations into a few tensors and forgets the rest;
    3. ``estimate`` for the features of any image.

    The current model's features are its embeddings, of the width d that the prior models'
    embeddings have, optionally followed by more columns, such as the output of its trunk. More
    columns let an estimator see what the embedding has thrown away.

    A subclass names its hyper-parameters in ``__init__``, keeps each as an attribute of that name
    and calls ``super().__init__()``; it implements ``accumulate``, ``solve`` and ``predict``. If
    its ``predict`` draws no random numbers it may set ``is_random = False``: no generator is then
    made for it, which neither ``torch.compile`` nor a CUDA graph could take in.

    Example:
        >>> class MeanShift(FeatureEstimator):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.batches = []
        ...
        ...     def accumulate(self, prior, current):
        ...         self.batches.append((prior - current).mean(dim=1))
        ...
        ...     def solve(self):
        ...         return {"shift": torch.stack(self.batches).mean(dim=0)}
        ...
        ...     def predict(self, features, state, generator):
        ...         return features + state["shift"].unsqueeze(1)
        >>> estimator = MeanShift()
        >>> estimator.observe(torch.ones(5, 2), torch.zeros(5, 2))
        >>> estimator.fit()
        >>> estimator.estimate(torch.zeros(3, 2)).shape
        torch.Size([1, 3, 2])
    """

    is_random: ClassVar[bool] = True

    def __init__(self) -> None:
        self._sizes: Sizes | None = None
        self._device_type = "cpu"
        self._state: dict[str, Tensor] | None = None
        self._copies: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    @abstractmethod
    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Take in a batch, already checked.

        Args:
            prior: embeddings of the prior models, or estimates of them, shape (K, N, d).
            current: features of the current model for the same images, shape (N, D), D >= d.
        """

    @abstractmethod
    def solve(self) -> dict[str, Tensor]:
        """What is kept of the observations: floating-point tensors with a first axis of length K.

        Called once. Let go of everything else that was accumulated.
        """

    @abstractmethod
    def predict(
        self, features: Tensor, state: dict[str, Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """Estimates from what :meth:`solve` returned.

        Args:
            features: shape (N, D), float32 or wider.
            state: the tensors of ``solve``, with the device and dtype of the features.
            generator: for random draws, on the device of the features.

        Returns:
            Shape (K, N, d).
        """

    @torch.no_grad()
    def observe(self, prior_features: Tensor, current_features: Tensor) -> None:
        """Take in the features of a batch of images; nothing of the batch itself is kept.

        Args:
            prior_features: embeddings of one prior model, shape (N, d), or of all, (K, N, d).
            current_features: features of the current model for the same images in the same
                order, shape (N, D); the first d columns are its embeddings.

        Raises:
            ValueError: if the shapes do not fit each other or an earlier batch, or a value is
                not finite; the message names the prior model, M_1 being the oldest.
            RuntimeError: after ``fit``.
        """
        if self._state is not None:
            raise RuntimeError(
                f"{type(self).__name__} is fitted and cannot observe more: make a new one"
            )
        prior = prior_features.unsqueeze(0) if prior_features.ndim == 2 else prior_features
        self._sizes = check_observation(prior, current_features, self._sizes)
        self._device_type = prior.device.type
        with torch.autocast(self._device_type, enabled=False):
            self.accumulate(prior.detach(), current_features.detach())

    @torch.no_grad()
    def fit(self) -> None:
        """End the observing; once fitted, further calls do nothing.

        Raises:
            RuntimeError: if nothing was observed.
        """
        if self._state is None:
            sizes = self.sizes
            with torch.autocast(self._device_type, enabled=False):
                state = {name: tensor.cpu() for name, tensor in self.solve().items()}
            check_tensors(state, sizes)
            self._set_state(state)

    @torch.no_grad()
    def estimate(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the prior models would embed, as far as can be told.

        Args:
            features: features of the current model, shape (N, D), as they were observed.
            generator: for estimators that draw random numbers, on the device of the features.
                Default: torch's global one.

        Returns:
            Shape (K, N, d), oldest model first, float32 or wider, without gradient.

        Raises:
            ValueError: if the features do not have the width that was observed.
            RuntimeError: before ``fit``.
        """
        state = self._fitted()
        check_features(features, self.sizes)
        with torch.autocast(features.device.type, enabled=False):
            features = widen(features)
            return self.predict(features, self._copy_like(features, state), generator)

    def carry_over(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the estimator of the same models from a newer model's features learns from.

        Args:
            features: of the current model, shape (N, D), for images that the newer one sees too.
            generator: as in ``estimate``.

        Returns:
            Shape (K, N, d); unless overridden, the estimates.
        """
        return self.estimate(features, generator)

    def set_ranges(self, ranges: Mapping[int, tuple[float, float]]) -> None:  # noqa: ARG002
        """Set how far accuracy has changed since prior models; only if ``needs_ranges``.

        Args:
            ranges: (low, high) by number of the prior model, 1 for M_1.
        """
        raise TypeError(
            f"{type(self).__name__} with {self.hyperparameters} takes no ranges: they are for "
            "AccuracyChangeEstimator without low and high"
        )

    @property
    def needs_ranges(self) -> bool:
        """Whether ``set_ranges`` must be called before ``estimate``."""
        return False

    @property
    def sizes(self) -> Sizes:
        """Number of prior models, width d of the embeddings and width D of the features.

        Raises:
            RuntimeError: if nothing was observed.
        """
        if self._sizes is None:
            raise RuntimeError(f"{type(self).__name__} has observed nothing: call observe first")
        return self._sizes

    def state_dict(self) -> dict[str, Tensor]:
        """All that is kept, as plain tensors on the CPU: to be saved, and counted in bytes."""
        return {**self._fitted(), SIZES: torch.tensor(self.sizes)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Become the estimator that the state was taken from; the hyper-parameters must agree.

        Args:
            state: what ``state_dict`` returned.

        Raises:
            ValueError: if a tensor is missing or does not hold one entry for each prior model.
        """
        sizes, tensors = split_state(state)
        self._try_out(sizes, tensors)
        self._sizes = sizes
        self._set_state(tensors)

    @property
    def nbytes(self) -> int:
        """Bytes kept for all prior models together."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The arguments that make another estimator like this one."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def fresh(self) -> FeatureEstimator:
        """An estimator with the same hyper-parameters that has observed nothing."""
        return type(self)(**self.hyperparameters)

    def _fitted(self) -> dict[str, Tensor]:
        if self._state is None:
            raise RuntimeError(f"{type(self).__name__} is not fitted: observe batches, then fit")
        return self._state

    def _set_state(self, state: dict[str, Tensor]) -> None:
        self._state, self._copies = state, {}

    def _try_out(self, sizes: Sizes, state: dict[str, Tensor]) -> None:
        """Raise unless the state gives estimates of the right shape."""
        trial = self.fresh()
        trial._sizes = sizes
        copies = {name: tensor.float() for name, tensor in state.items()}
        generator = torch.Generator().manual_seed(0)
        try:
            shape = trial.predict(torch.zeros(1, sizes.feature_width), copies, generator).shape
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"the state of {sizes.names} does not fit {type(self).__name__} with "
                f"{self.hyperparameters}: {error}"
            ) from error
        if shape != (sizes.models, 1, sizes.width):
            raise ValueError(
                f"the state of {sizes.names} gives estimates of shape {tuple(shape)} for one "
                f"image, expected {(sizes.models, 1, sizes.width)}"
            )

    def _copy_like(self, features: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state where the features are; made once, as moving it each time would be slow."""
        place = (features.device, features.dtype)
        if place not in self._copies:
            self._copies[place] = {name: tensor.to(features) for name, tensor in state.items()}
        return self._copies[place]
