"""One query and the images it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.search import ExactSearch


@dataclass(frozen=True)
class LabelledImage:
    """An image with its label and the name of its class."""

    image: Image
    label: int
    class_name: str


@dataclass(frozen=True)
class RetrievalRow:
    """A query and what it finds, nearest first."""

    query: LabelledImage
    found: tuple[LabelledImage, ...]

    def hits(self) -> tuple[bool, ...]:
        """Which of the images found are of the query's class."""
        return tuple(item.label == self.query.label for item in self.found)


def retrieval_rows(
    dataset: Dataset[Any],
    embeddings: Tensor,
    query_indices: Sequence[int],
    class_names: Mapping[int, str] | Sequence[str],
    k: int = 5,
) -> list[RetrievalRow]:
    """Search for some images of a dataset among its others.

    Args:
        dataset: gives (PIL image, label); for a joint gallery, a ``ConcatDataset`` of its splits.
        embeddings: of the dataset's images in its order, shape (N, d).
        query_indices: which images are the queries.
        class_names: the name of each label.
        k: how many images to find for each query; fewer if there are no more.

    Returns:
        One row per query.

    Raises:
        ValueError: if the dataset has another length than the embeddings, k is below 1 or an
            index is none of theirs.
        TypeError: if the dataset gives anything but PIL images.

    Example:
        >>> from PIL import Image
        >>> dataset = [(Image.new("L", (8, 8)), label) for label in (0, 1, 0)]
        >>> embeddings = torch.tensor([[0.0], [5.0], [1.0]])
        >>> row, = retrieval_rows(dataset, embeddings, [0], class_names=["cat", "dog"])
        >>> [item.class_name for item in row.found], row.hits()
        (['cat', 'dog'], (True, False))
    """
    size = len(dataset)  # type: ignore[arg-type]  # map-style datasets have a length
    if size != len(embeddings):
        raise ValueError(
            f"the dataset has {size} images but embeddings has {len(embeddings)} rows: pass the "
            "embeddings of all its images, in its order"
        )

    def labelled(index: int) -> LabelledImage:
        image, label = dataset[index]
        if not isinstance(image, Image):
            raise TypeError(
                f"image {index} is a {type(image).__name__}, not a PIL image: pass the dataset "
                "without a transform, as dataset.with_transform(None)"
            )
        return LabelledImage(image, int(label), class_names[int(label)])

    search = ExactSearch(embeddings, torch.zeros(size, dtype=torch.int64))
    rows = []
    for query in query_indices:
        found = search.nearest(range(query, query + 1), range(size), k)[0].tolist()
        rows.append(RetrievalRow(labelled(query), tuple(map(labelled, found))))
    return rows
