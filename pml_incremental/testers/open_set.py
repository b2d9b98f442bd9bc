"""The open-set view of a gallery: queries whose classes the gallery does not hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_incremental.metrics import lone_queries, open_set_auroc, open_set_fpr
from pml_incremental.search import ExactSearch


@dataclass(frozen=True)
class OpenSet:
    """How well distances to the gallery tell known classes from unknown ones."""

    auroc: float  # see :func:`pml_incremental.metrics.open_set_auroc`
    fpr_at_95_tpr: float  # see :func:`pml_incremental.metrics.open_set_fpr`
    known: int  # number of queries with a same-class item in the gallery
    unknown: int  # number of queries without one


def open_set(
    embeddings: Mapping[str, Tensor], labels: Mapping[str, Tensor], seen: Collection[str]
) -> OpenSet:
    """Ask the gallery of the seen splits with all queries, those of unseen splits too.

    A query is known if the gallery holds another image of its class; no query finds itself.
    """
    inside = [split for split in embeddings if split in seen]
    outside = [split for split in embeddings if split not in seen]
    if not inside:
        raise ValueError(f"none of {list(embeddings)} is seen: the gallery is empty")
    x = torch.cat([embeddings[split] for split in (*inside, *outside)])
    y = torch.cat([labels[split] for split in (*inside, *outside)])
    size = sum(len(labels[split]) for split in inside)
    gallery, others = range(size), range(size, len(y))
    search = ExactSearch(x, y)
    asked = [queries for queries in (gallery, others) if len(queries)]
    nearest = torch.cat([search.nearest(queries, gallery, 1) for queries in asked])[:, 0]
    distances = (x.double() - x[nearest].double()).norm(dim=1)
    unknown = torch.cat(
        [
            lone_queries(y[:size], y[:size], self_in_gallery=True),
            lone_queries(y[size:], y[:size], self_in_gallery=False),
        ]
    )
    known_distances, unknown_distances = distances[~unknown].numpy(), distances[unknown].numpy()
    return OpenSet(
        open_set_auroc(known_distances, unknown_distances),
        open_set_fpr(known_distances, unknown_distances),
        len(known_distances),
        len(unknown_distances),
    )
