"""Checks of what estimators are given; messages name the prior model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

SIZES = "sizes"


class Sizes(NamedTuple):
    """How much an estimator deals with: K, d and D."""

    models: int
    width: int
    feature_width: int

    @property
    def names(self) -> str:
        """The prior models, as messages call them."""
        return model_names(self.models)


def model_names(count: int) -> str:
    """M_1 .. M_count, as messages call them."""
    return "M_1" if count == 1 else f"M_1 to M_{count}"


def check_matrix(owner: str, features: Tensor) -> None:
    """Raise unless ``features`` is a finite floating-point matrix with at least one row."""
    if not isinstance(features, Tensor):
        raise TypeError(
            f"features of {owner} must be a torch.Tensor, got {type(features).__name__}"
        )
    if not features.is_floating_point():
        raise TypeError(f"features of {owner} must be floating-point, got {features.dtype}")
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"features of {owner} must have shape (N, d) with at least one row, one for each "
            f"image, got {tuple(features.shape)}"
        )
    bad = ~torch.isfinite(features).all(dim=1)
    if bad.any():
        raise ValueError(
            f"features of {owner} hold NaN or infinity in {int(bad.sum())} of {len(bad)} rows, "
            f"first in row {int(bad.int().argmax())}: the model or an image is broken"
        )


def check_observation(prior: Tensor, current: Tensor, before: Sizes | None) -> Sizes:
    """The sizes of an observation, or raise if its parts do not fit each other or those before."""
    if prior.ndim != 3 or len(prior) == 0:
        raise ValueError(
            "features of the prior models must have shape (N, d) or (K, N, d), "
            f"got {tuple(prior.shape)}"
        )
    for k, features in enumerate(prior):
        check_matrix(f"prior model M_{k + 1}", features)
    check_matrix("the current model", current)
    models, rows, width = prior.shape
    sizes = Sizes(models, width, current.shape[1])
    check_same_images(f"prior model {sizes.names}", rows, "the current model", len(current))
    if sizes.feature_width < width:
        raise ValueError(
            f"features of prior model {sizes.names} have width {width} but those of the current "
            f"model only {sizes.feature_width}: they must start with an embedding of width {width}"
        )
    if before is not None and sizes != before:
        raise ValueError(
            f"earlier batches had {before.models} prior models of width {before.width} and "
            f"current features of width {before.feature_width}, this one has "
            f"{models} ({sizes.names}) of width {width} and current features of width "
            f"{sizes.feature_width}: all batches must have the same"
        )
    return sizes


def check_same_images(first: str, rows: int, second: str, other_rows: int) -> None:
    """Raise unless both have as many rows."""
    if rows != other_rows:
        raise ValueError(
            f"features of {first} have {rows} rows but those of {second} have {other_rows}: "
            "pass features of the same images in the same order"
        )


def check_features(features: Tensor, sizes: Sizes) -> None:
    """Raise unless the features have the form that was observed."""
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise TypeError("features must be a floating-point torch.Tensor")
    if features.ndim != 2 or features.shape[1] != sizes.feature_width:
        raise ValueError(
            f"the estimates of {sizes.names} need features of shape (N, {sizes.feature_width}), "
            f"as they were observed, got {tuple(features.shape)}"
        )


def split_state(state: Mapping[str, Tensor]) -> tuple[Sizes, dict[str, Tensor]]:
    """Sizes and tensors of a state, or raise if they contradict each other."""
    if SIZES not in state:
        raise ValueError(
            f"this is not an estimator's state: it has {sorted(state)} but no {SIZES!r}"
        )
    sizes = Sizes(*(int(size) for size in state[SIZES]))
    tensors = {name: tensor.cpu().clone() for name, tensor in state.items() if name != SIZES}
    check_tensors(tensors, sizes)
    return sizes, tensors


def check_tensors(tensors: Mapping[str, Tensor], sizes: Sizes) -> None:
    """Raise unless every tensor holds something for each prior model."""
    for name, tensor in tensors.items():
        if tensor.shape[:1] != (sizes.models,) or not tensor.is_floating_point():
            raise ValueError(
                f"{name!r} must be floating-point with one entry for each of {sizes.names}, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
            )


def check_change_of_teacher(
    leaving: Tensor,
    coming: Tensor,
    embedding_width: int | None,
    older: Sizes | None,
    batch: int,
) -> int:
    """The embedding width, or raise if the features of the two teachers cannot be learned from."""
    number = 1 if older is None else older.models + 1
    left, came = (f"M_{n} in batch {batch}" for n in (number, number + 1))
    check_matrix(left, leaving)
    check_matrix(came, coming)
    check_same_images(left, len(leaving), came, len(coming))
    width = leaving.shape[1] if embedding_width is None else embedding_width
    if embedding_width is None and coming.shape[1] != width:
        raise ValueError(
            f"embeddings of {left} have width {width} but those of {came} have "
            f"{coming.shape[1]}: all models must have one embedding width; if features hold more "
            "columns behind the embeddings, give embedding_width"
        )
    for name, features in ((left, leaving), (came, coming)):
        if features.shape[1] < width:
            raise ValueError(
                f"features of {name} have width {features.shape[1]}: too few for embeddings of "
                f"width {width}"
            )
    if older is not None and width != older.width:
        raise ValueError(
            f"embeddings of {left} have width {width} but those of {older.names} have "
            f"{older.width}: all models must have one embedding width"
        )
    return width
