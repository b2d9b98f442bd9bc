"""What a page can show when the run's models were asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image


@dataclass(frozen=True)
class ClassChange:
    """Recall@1 of a class when its task was learned, and at the end."""

    name: str
    task: int
    learned: float
    end: float


@dataclass(frozen=True)
class FoundImage:
    """A picture with the name of its class, and whether it is the query's."""

    image: Image
    class_name: str
    right: bool


@dataclass(frozen=True)
class QueryChange:
    """What a query found with an earlier model, and with a later one.

    ``place_before`` and ``place_after`` say where its nearest same-class image stood.
    """

    query: FoundImage
    task: int
    place_before: int
    place_after: int
    before: Sequence[FoundImage]
    after: Sequence[FoundImage]


@dataclass(frozen=True)
class Details:
    """One strategy, looked at closely.

    Attributes:
        interval: 95 % bootstrap interval of Recall@1 at the end, mean of the tasks, own gallery.
        classes: of the earlier tasks, those that lost most first.
        queries: some that found their class when it was learned and miss it most at the end.
        lessons: queries spread over each task, before and after it was learned.
        cross: c[i][j], queries by the model after task i + 1, index by that after task j + 1.
        reindexed: the same with the index rebuilt.
        open_set: AUROC and FPR at 95 % TPR after each task but the last, with the queries of the
            tasks to come as those of unknown classes.
    """

    interval: tuple[float, float]
    classes: Sequence[ClassChange]
    queries: Sequence[QueryChange]
    lessons: Sequence[QueryChange]
    cross: NDArray[np.float64]
    reindexed: NDArray[np.float64]
    open_set: Sequence[tuple[float, float]]
