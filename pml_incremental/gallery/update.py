"""Moving stored embeddings into a new model's space, without the images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pml_incremental.estimators import FeatureEstimator
from pml_incremental.gallery.gallery import Gallery, check_vectors
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.search import search_gallery


@dataclass(frozen=True)
class UpdateReport:
    """Recall@1 of the same queries, as a share.

    Attributes:
        before: old model, old gallery.
        not_updated: new model, old gallery.
        updated: new model, gallery moved by the map.
        reembedded: new model, gallery embedded anew; None if images of the gallery are gone.
    """

    before: float
    not_updated: float
    updated: float
    reembedded: float | None


def update_gallery(
    gallery: Gallery,
    old: Tensor,
    new: Tensor,
    estimator: FeatureEstimator,
    model: dict[str, Any],
) -> Gallery:
    """Learn the change of a space from some images, and apply it to the gallery.

    The estimators were made to look back; here they look ahead: what they estimate is the new
    model's embedding from the old one's.

    Args:
        gallery: with vectors of the old model.
        old: embeddings by the old model of images that the new one has learned from, (N, d).
        new: embeddings of the same images by the new model, (N, d).
        estimator: that has observed nothing, such as ``LinearEstimator()``.
        model: describes the new model.

    Returns:
        A gallery of unit vectors in the new model's space.

    Raises:
        ValueError: if the numbers or widths of the embeddings differ, or the estimator cannot look
            ahead.
    """
    check_looks_ahead(estimator)
    estimator.observe(new, old)
    estimator.fit()
    moved = F.normalize(estimator.estimate(gallery.vectors)[0], dim=1).float()
    new_model = f"task {model['task']}" if "task" in model else Path(model["weights"]).name
    step = f"moved to {new_model} by {type(estimator).__name__} on {len(old)} images"
    return replace(
        gallery,
        vectors=check_vectors(moved, gallery.files),
        model=model,
        history=(*gallery.history, step),
    )


def check_looks_ahead(estimator: FeatureEstimator) -> None:
    """Raise a ValueError if an estimator needs accuracies, which are measured looking back."""
    if estimator.needs_ranges:
        raise ValueError(
            f"{type(estimator).__name__} draws from changes of accuracy, which a gallery does not "
            "have: take one that learns, such as LinearEstimator"
        )


def measure_update(
    before: Gallery,
    after: Gallery,
    queries: ImageFiles,
    old: Tensor,
    new: Tensor,
    reembedded: Tensor | None,
) -> UpdateReport:
    """Recall@1 of queries before and after an update.

    Args:
        before: the gallery of the old model.
        after: the updated one.
        queries: images in folders named by their class.
        old: their embeddings by the old model.
        new: their embeddings by the new model.
        reembedded: the gallery's images embedded by the new model, if they are still there.
    """

    def recall(gallery: Gallery, vectors: Tensor) -> float:
        return search_gallery(gallery, queries, vectors, k=1).recall_at_1

    anew = None if reembedded is None else recall(replace(after, vectors=reembedded), new)
    return UpdateReport(recall(before, old), recall(before, new), recall(after, new), anew)
