"""Moving stored embeddings into a new model's space, without the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pml_incremental.gallery.embedding_map import EmbeddingMap
from pml_incremental.gallery.gallery import Gallery, check_vectors
from pml_incremental.gallery.image_files import ImageFiles, numbered
from pml_incremental.gallery.map_fitting import FEWEST, FOLDS
from pml_incremental.gallery.model_version import ModelVersion, WeightsModel, identity, short_name
from pml_incremental.gallery.search import SearchResult, search_gallery
from pml_incremental.report.results import Change
from pml_incremental.report.style import percent
from pml_incremental.wording import counted


@dataclass(frozen=True)
class UpdateReport:
    """Recall@1 of the same queries, as a share.

    Attributes:
        before: old model, old gallery.
        not_updated: new model, old gallery; None if its vectors have another width.
        updated: new model, gallery moved by the map.
        reembedded: new model, gallery embedded again; None if images of the gallery are gone.
        change: updated minus before, with its interval.
    """

    before: float
    not_updated: float | None
    updated: float
    reembedded: float | None
    change: Change


def learn_map(
    old: ModelVersion | WeightsModel,
    new: ModelVersion | WeightsModel,
    images: ImageFiles,
    progress: bool = False,
) -> EmbeddingMap:
    """Learn the change of a space from images that both models embed, upright and turned.

    Copies turned by 90, 180 and 270 degrees cover more of the old space than the new images alone,
    and so hold more of what the old classes need. The kind of map is chosen on classes held out, if
    there are at least 3 with 3 images each.

    Args:
        old: the model that galleries were built with.
        new: the model to move them to.
        images: such as those that the new model has learned from.
        progress: whether to show progress bars.

    Returns:
        The map, which knows both models.

    Raises:
        ValueError: if an image cannot be read, a model's weights are gone, or there are too few
            images.
    """
    turned = [replace(images, quarter_turns=turns) for turns in range(4)]
    before, after = ([model.embed(part, progress) for part in turned] for model in (old, new))
    (classes,) = numbered(images.labels)
    return replace(map_of_copies(before, after, classes), old=old.describe(), new=new.describe())


def map_of_copies(
    before: Sequence[Tensor], after: Sequence[Tensor], classes: Sequence[int]
) -> EmbeddingMap:
    """The map learned from images and copies of them, and chosen on images of classes held out."""
    sizes = Counter(classes).values()
    # The map is for old classes: it is chosen by what it does to classes that it has not seen.
    can_hold_out = len(sizes) >= FEWEST and (min(sizes) >= FEWEST or len(sizes) >= FEWEST * FOLDS)
    groups = torch.tensor(classes if can_hold_out else range(len(classes))).repeat(len(before))
    are_originals = torch.arange(len(groups)) < len(classes)
    return EmbeddingMap.fit(torch.cat(list(before)), torch.cat(list(after)), groups, are_originals)


def describe_map(embedding_map: EmbeddingMap) -> str:
    """What a map is worth, in one line."""
    quality = embedding_map.quality
    found = (
        f"map: {embedding_map.kind}, from {counted(quality.pairs, 'pair')}; on held-out pairs: "
        f"cosine to the new model's vectors {quality.cosine:.3f}, "
        f"neighbours kept {percent(quality.neighbours)} %"
    )
    if quality.cosine_unmoved is None or quality.neighbours_unmoved is None:
        return found
    without = f"{quality.cosine_unmoved:.3f} and {percent(quality.neighbours_unmoved)} %"
    return f"{found} (without a map {without})"


def update_gallery(
    gallery: Gallery, embedding_map: EmbeddingMap, model: dict[str, Any] | None = None
) -> Gallery:
    """Move a gallery's vectors to the new model of a map.

    Args:
        gallery: with vectors of the old model.
        embedding_map: from that model to the new one.
        model: describes the new model, for a map that does not know it.

    Returns:
        A gallery of unit vectors in the new model's space.

    Raises:
        ValueError: if the map is from another model (as when it is applied twice), or nothing says
            to which model it leads.
    """
    old, new = embedding_map.old, embedding_map.new or model
    if model is not None and new is not None and identity(new) != identity(model):
        raise ValueError(
            f"the map's new model ({short_name(new)}) is not the one named "
            f"({short_name(model)}): do not name a model, or use another map"
        )
    present = identity(gallery.model)
    if old is not None and identity(old) != present:
        raise ValueError(
            "the gallery's vectors do not come from the map's old model: it may have been moved "
            f"already ({'; '.join(gallery.history)}); use a map from its present model"
        )
    if new is None:
        raise ValueError("the map does not name its new model: name it too")
    if identity(new) == present:
        raise ValueError("the gallery's vectors already come from the new model")
    pairs = embedding_map.quality.pairs
    step = f"moved to {short_name(new)} by a map ({embedding_map.kind}) of {counted(pairs, 'pair')}"
    return replace(
        gallery,
        vectors=check_vectors(embedding_map.apply(gallery.vectors), gallery.files),
        model=dict(new),
        history=(*gallery.history, step),
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

    def ask(gallery: Gallery, vectors: Tensor) -> SearchResult:
        return search_gallery(gallery, queries, vectors, k=1)

    first, last = ask(before, old), ask(after, new)
    anew = None if reembedded is None else ask(replace(after, vectors=reembedded), new)
    fits = new.shape[1] == before.vectors.shape[1]
    return UpdateReport(
        before=first.recall_at_1,
        not_updated=ask(before, new).recall_at_1 if fits else None,
        updated=last.recall_at_1,
        reembedded=None if anew is None else anew.recall_at_1,
        change=Change.of(first.hits.numpy(), last.hits.numpy()),
    )
