"""Queries beside the images they find."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.report.fonts import families_for
from pml_incremental.report.style import FAINT, INK, RIGHT, WRONG, new_figure, save_figure, shorten
from pml_incremental.search import ExactSearch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

# In inches.
CELL, COLUMN_STEP, ROW_STEP = 1.0, 1.13, 1.3
MARGIN, HEADER, GAP_AFTER_QUERY = 0.15, 0.65, 0.25
CAPTION_LENGTH = 16
MARKS = {True: ("\N{CHECK MARK}", RIGHT), False: ("\N{BALLOT X}", WRONG)}


def plot_retrieval_grid(path: str | Path, queries: Sequence[RetrievalRow], title: str = "") -> None:
    """Draw each query and the images it finds, framed by whether they are of its class.

    A right image has a green frame and a check mark, a wrong one an orange frame and a cross; the
    name of its class is below each image.

    Args:
        path: where to write; the ending chooses the format (png, pdf, svg).
        queries: one row of the picture each.
        title: the heading, such as the model's or strategy's name.

    Raises:
        ValueError: if there are no queries, or none finds anything.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> cat = LabelledImage(Image.new("L", (8, 8)), 0, "cat")
        >>> with TemporaryDirectory() as folder:
        ...     plot_retrieval_grid(f"{folder}/grid.png", [RetrievalRow(cat, (cat,))], "finetune")
    """
    columns = max((len(row.found) for row in queries), default=0)
    if columns == 0:
        raise ValueError("there is nothing to draw: give at least one query that finds an image")
    width = 2 * MARGIN + columns * COLUMN_STEP + GAP_AFTER_QUERY + CELL
    figure = new_figure(width, HEADER + len(queries) * ROW_STEP)
    for y, row in enumerate(queries):
        _draw_image(_cell(figure, 0, y), row.query, FAINT, line_width=0.6)
        for x, (item, hit) in enumerate(zip(row.found, row.hits(), strict=True), start=1):
            axes = _cell(figure, x, y)
            mark, color = MARKS[hit]
            _draw_image(axes, item, color, line_width=3)
            _draw_mark(axes, mark, color)
    for x, heading in enumerate(["query", *range(1, columns + 1)]):
        _write(figure, _left(x) + CELL / 2, HEADER - 0.08, str(heading), "center", FAINT, 9)
    _write(figure, MARGIN, 0.3, title, "left", INK, 12)
    save_figure(figure, path, _legend(queries))


def _legend(queries: Sequence[RetrievalRow]) -> str:
    """The names of classes that are written as numbers, which is also said in the log."""
    items = {item.label: item for row in queries for item in (row.query, *row.found)}
    numbered = {label: item for label, item in items.items() if not families_for(item.class_name)}
    legend = ", ".join(f"class {label}: {numbered[label].class_name}" for label in sorted(numbered))
    if legend:
        logger.warning(
            "no font here has the characters of these classes, so that pictures have their "
            "numbers; install one, such as Noto Sans CJK\n%s",
            legend,
        )
    return legend


def _left(x: int) -> float:
    return MARGIN + x * COLUMN_STEP + (GAP_AFTER_QUERY if x else 0)


def _cell(figure: Figure, x: int, y: int) -> Axes:
    """Square axes in column ``x``, row ``y``."""
    width, height = figure.get_size_inches()
    bottom = height - HEADER - y * ROW_STEP - CELL
    return figure.add_axes((_left(x) / width, bottom / height, CELL / width, CELL / height))


def _draw_image(axes: Axes, item: LabelledImage, frame_color: str, line_width: float) -> None:
    axes.imshow(np.asarray(item.image.convert("RGB")))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=frame_color, linewidth=line_width)
    name, families = caption(item)
    axes.set_xlabel(name, color=INK, fontsize=8, labelpad=4, parse_math=False, fontfamily=families)


def caption(item: LabelledImage) -> tuple[str, tuple[str, ...]]:
    """What is written below an image, and the fonts for it.

    Where no font has the characters of a class's name, it is the class's number.
    """
    families = families_for(item.class_name)
    if not families:
        return f"class {item.label}", families_for("class")
    return shorten(item.class_name, CAPTION_LENGTH), families


def _draw_mark(axes: Axes, mark: str, color: str) -> None:
    axes.text(
        1,
        1,
        mark,
        transform=axes.transAxes,
        ha="right",
        va="top",
        color="white",
        fontsize=8,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": color, "edgecolor": "none"},
    )


def _write(
    figure: Figure, left: float, below_top: float, text: str, align: str, color: str, size: float
) -> None:
    width, height = figure.get_size_inches()
    place = (left / width, 1 - below_top / height)
    figure.text(*place, text, ha=align, color=color, fontsize=size, parse_math=False)


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
