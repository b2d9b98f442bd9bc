"""A stream of tasks with disjoint classes over one labelled dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from pml_incremental.scenarios._task_classes import ClassNames, Label, MapDataset, task_classes
from pml_incremental.scenarios.split import ClassImages, SplitNeeds, read_class_images
from pml_incremental.scenarios.task_subset import Task, TaskSubset
from pml_incremental.wording import counted, first_lines


class ClassIncrementalScenario(Sequence[Task]):
    """Tasks with disjoint classes, each with training images and held-out test images.

    Classes are relabelled in order of arrival: class number c of ``scenario.classes`` has label c,
    so the labels of the first t tasks are 0 to n_t - 1. The split is by image within each class:
    the dataset's own ``test_mask`` if it has one, else a random one that depends on the seed and
    on the class alone, so that neither the order of the classes nor other classes change it.

    Args:
        dataset: a map-style dataset whose items are ``(image, label)`` or ``{"data": image,
            "label": label}`` and which lists the labels, integers or strings, in ``labels`` or
            ``targets``. ``classes`` (names of the integer labels), ``class_groups``,
            ``test_mask`` and ``image_name(index)`` are used where it has them.
        classes_per_task: how many classes each task brings. Fewer than the dataset has in all is
            fine. Give either this or ``class_groups``.
        class_groups: the classes of each task, by label or name, or ``"natural"`` for the
            dataset's own groups.
        class_order: with ``classes_per_task``, the order in which the classes arrive: a list of
            labels or names, ``"random"`` for one by the seed, or None for that of the labels.
        seed: at least 0, for the random order and the random split.
        test_fraction: share of each class to hold out, between 0 and 1, without a ``test_mask``.
        min_train: training images that a class must have, at least 1.
        min_test: test images that a class must have, at least 1; retrieval needs 2.
        on_small_class: ``"raise"`` an error if a class has fewer, or ``"drop"`` it from its task.
        train_transform: called with each training image that the dataset gives, after the
            dataset's own transform if that is set.
        test_transform: the same for test images.

    Attributes:
        classes: all classes in order of arrival, as the dataset labels them.
        class_names: the name of each new label.
        unused_classes: the dataset's classes that no task brings, dropped ones not counted.
        unused_class_names: their names.
        dropped_classes: the name of each dropped class and its numbers of images.

    Raises:
        ValueError: if an argument is not as above, tasks share a class or have none, a class is
            unknown or too small, more classes are asked for than there are, or the dataset's
            labels are not one per item.
        TypeError: if the dataset is not map-style or an argument is of the wrong type.

    Example:
        >>> from pml_incremental.datasets import Glyphs
        >>> glyphs = Glyphs(scripts=("armenian", "georgian"), max_classes_per_script=4)
        >>> scenario = ClassIncrementalScenario(glyphs, class_groups="natural")
        >>> [(task.name, task.class_names, task.labels) for task in scenario][1]
        ('task_2', ('Ⴀ', 'Ⴔ', 'დ', 'ყ'), range(4, 8))
        >>> len(scenario[0].train), len(scenario[0].test), len(scenario.seen(2))
        (36, 12, 2)
    """

    def __init__(
        self,
        dataset: MapDataset,
        classes_per_task: Sequence[int] | None = None,
        class_groups: Sequence[Sequence[Label]] | Literal["natural"] | None = None,
        class_order: Literal["random"] | Sequence[Label] | None = None,
        seed: int = 0,
        *,
        test_fraction: float = 0.3,
        min_train: int = 2,
        min_test: int = 2,
        on_small_class: Literal["raise", "drop"] = "raise",
        train_transform: Callable[[Any], Any] | None = None,
        test_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        needs = SplitNeeds(test_fraction, min_train, min_test, seed)
        if on_small_class not in ("raise", "drop"):
            raise ValueError(f'on_small_class must be "raise" or "drop", got {on_small_class!r}')
        self.dataset = dataset
        images = read_class_images(dataset, needs)
        names = images.names
        wanted = task_classes(dataset, names, classes_per_task, class_groups, class_order, seed)
        small = find_small_classes(chain(*wanted), images, needs)
        if on_small_class == "raise":
            raise_small_classes(small, names, needs)
        groups = without_classes(wanted, small, names)
        used = set(chain(*wanted))
        self.unused_classes = tuple(label for label in names.labels if label not in used)
        self.unused_class_names = tuple(map(names.name, self.unused_classes))
        self.dropped_classes = {names.name(label): counts for label, counts in small.items()}
        self.classes = tuple(chain(*groups))
        self.class_names = tuple(map(names.name, self.classes))
        self._needs = needs
        places = f"classes_per_task has places for {sum(map(len, wanted))}; give them a task there"
        self._why_unused = "class_groups does not name them" if classes_per_task is None else places
        self._tasks = build_tasks(dataset, images, groups, train_transform, test_transform)

    @property
    def left_out(self) -> dict[str, str]:
        """The classes that no task brings, and why; those without enough images first."""
        return {
            **dict.fromkeys(self.dropped_classes, f"too few images: {self._needs.described}"),
            **dict.fromkeys(self.unused_class_names, self._why_unused),
        }

    def __len__(self) -> int:
        return len(self._tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...

    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        return self._tasks[index]

    def seen(self, t: int) -> list[Task]:
        """The first t tasks: those that a model has learned after task number t."""
        if not 1 <= t <= len(self):
            raise ValueError(f"t must be from 1 to {len(self)}, the number of tasks, got {t}")
        return self._tasks[:t]

    def check_batches(self, batch_size: int, per_class: int) -> None:
        """Raise a ValueError unless every task can fill a batch.

        A batch holds ``batch_size // per_class`` classes with ``per_class`` images each. The
        message names each task with fewer classes or training images than that.
        """
        check_batches(self, batch_size, per_class)


def check_batches(tasks: Iterable[Task], batch_size: int, per_class: int) -> None:
    """Raise unless each task has the classes and training images that a batch takes."""
    if per_class < 1 or batch_size < per_class or batch_size % per_class:
        raise ValueError(
            "batch_size must be a positive multiple of per_class, the images of each class in a "
            f"batch, got batch_size {batch_size} and per_class {per_class}"
        )
    n_classes = batch_size // per_class
    short = [
        f"\n  {task.name}: {counted(len(task.classes), 'class')}, "
        f"{counted(len(task.train), 'training image')}"
        for task in tasks
        if len(task.classes) < n_classes or len(task.train) < batch_size
    ]
    if short:
        raise ValueError(
            f"a batch of {batch_size} takes {counted(n_classes, 'class')} with "
            f"{counted(per_class, 'image')} each, "
            f"which these tasks do not have:{''.join(short)}\nmake the batch smaller, take more "
            "images per class, or give the tasks more classes"
        )


def build_tasks(
    dataset: MapDataset,
    images: ClassImages,
    groups: list[list[Label]],
    train_transform: Any,
    test_transform: Any,
) -> list[Task]:
    """One task for each group of classes."""
    tasks: list[Task] = []
    for number, group in enumerate(groups, start=1):
        first = tasks[-1].labels.stop if tasks else 0
        tasks.append(
            Task(
                number=number,
                classes=tuple(group),
                class_names=tuple(map(images.names.name, group)),
                labels=range(first, first + len(group)),
                train=_subset(dataset, images, group, first, False, train_transform),
                test=_subset(dataset, images, group, first, True, test_transform),
            )
        )
    return tasks


def _subset(
    dataset: MapDataset,
    images: ClassImages,
    group: list[Label],
    first_label: int,
    is_test: bool,
    transform: Any,
) -> TaskSubset:
    parts = [images.indices(label, is_test) for label in group]
    indices = np.concatenate(parts)
    new_labels = np.arange(first_label, first_label + len(group), dtype=np.int64)
    return TaskSubset(
        dataset=dataset,
        indices=indices,
        labels=np.repeat(new_labels, [len(part) for part in parts]),
        original_labels=images.labels[indices],
        transform=transform,
    )


class ClassCounts(NamedTuple):
    """How many images of a class are for training and for testing."""

    train: int
    test: int


def find_small_classes(
    classes: Iterable[Label], images: ClassImages, needs: SplitNeeds
) -> dict[Label, ClassCounts]:
    """The classes with fewer training or test images than needed."""
    small = {}
    for label in classes:
        counts = ClassCounts(
            train=len(images.indices(label, False)), test=len(images.indices(label, True))
        )
        if counts.train < needs.min_train or counts.test < needs.min_test:
            small[label] = counts
    return small


def raise_small_classes(
    small: dict[Label, ClassCounts], names: ClassNames, needs: SplitNeeds
) -> None:
    """Raise if there are classes that are too small, naming the first of them."""
    if small:
        found = [
            f"  {names.name(label)}: {counts.train} training, {counts.test} test"
            for label, counts in small.items()
        ]
        what = (
            f"classes with fewer than {needs.min_train} training or {needs.min_test} test images: "
            f"{len(small)}; add images, or leave them out with on_small_class: drop"
        )
        raise ValueError("\n".join([what, *first_lines(found)]))


def without_classes(
    groups: list[list[Label]], small: dict[Label, ClassCounts], names: ClassNames
) -> list[list[Label]]:
    """The groups without the small classes; none may become empty."""
    kept = [[label for label in group if label not in small] for group in groups]
    for number, (group, rest) in enumerate(zip(groups, kept, strict=True), start=1):
        if not rest:
            raise ValueError(
                f"task {number} has no class left, because all of its classes are too small: "
                f"{', '.join(names.name(label) for label in group)}"
            )
    return kept
