"""What a scenario reads from a dataset, and which classes each task brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pml_incremental.wording import counted

Label: TypeAlias = int | str

ORDER_STREAM = 1  # keeps the order of the classes independent of the split with the same seed


def task_classes(
    dataset: object,
    names: ClassNames,
    classes_per_task: Any,
    class_groups: Any,
    class_order: Any,
    seed: int,
) -> list[list[Label]]:
    """The classes of each task, however they are given."""
    if (classes_per_task is None) == (class_groups is None):
        raise ValueError("give either classes_per_task or class_groups, and not both")
    if classes_per_task is not None:
        return consecutive_groups(names, classes_per_task, class_order, seed)
    if class_order is not None:
        raise ValueError(
            "class_order applies to classes_per_task only: class_groups has an order already"
        )
    if isinstance(class_groups, str):
        if class_groups != "natural":
            raise ValueError(
                f'class_groups must be "natural" or a list of lists, got {class_groups!r}'
            )
        class_groups = natural_groups(dataset)
    return named_groups(names, class_groups)


def consecutive_groups(
    names: ClassNames, classes_per_task: Sequence[int], class_order: Any, seed: int
) -> list[list[Label]]:
    """The classes in ``class_order``, cut into tasks of the given sizes."""
    sizes = _check_sizes(classes_per_task)
    order = ordered_classes(names, class_order, seed)
    if sum(sizes) > len(order):
        raise ValueError(
            f"classes_per_task asks for {sum(sizes)} classes ({' + '.join(map(str, sizes))}), but "
            f"there are only {len(order)}: make tasks smaller or fewer"
        )
    ends = np.cumsum(sizes).tolist()
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def ordered_classes(names: ClassNames, class_order: Any, seed: int) -> list[Label]:
    """All classes in the order wanted: as they are, at random, or as listed."""
    if class_order is None:
        return list(names.labels)
    if isinstance(class_order, str):
        if class_order != "random":
            raise ValueError(
                f'class_order must be "random", a list of classes or None, got {class_order!r}'
            )
        permutation = np.random.default_rng([seed, ORDER_STREAM]).permutation(len(names.labels))
        return [names.labels[i] for i in permutation]
    order = [names.find(wanted, "class_order") for wanted in class_order]
    repeated = [names.name(label) for label, times in Counter(order).items() if times > 1]
    if repeated:
        raise ValueError(f"class_order holds classes more than once: {', '.join(repeated)}")
    return order


def named_groups(names: ClassNames, class_groups: Any) -> list[list[Label]]:
    """The groups of classes as the user listed them, checked to be disjoint."""
    groups: list[list[Label]] = []
    task_of: dict[Label, int] = {}
    for number, group in enumerate(class_groups, start=1):
        where = f"class_groups[{number - 1}] (task {number})"
        if isinstance(group, (str, int)):
            raise TypeError(f"{where} must be a list of classes, got {group!r}")
        labels = [names.find(wanted, where) for wanted in group]
        if not labels:
            raise ValueError(f"{where} is empty: list its classes or remove it")
        for label in labels:
            if label in task_of:
                raise ValueError(
                    f"tasks must not share classes, but {names.name(label)!r} is in task "
                    f"{task_of[label]} and again in task {number}"
                )
            task_of[label] = number
        groups.append(labels)
    if not groups:
        raise ValueError("class_groups is empty: list the classes of at least one task")
    return groups


def natural_groups(dataset: object) -> Any:
    """The dataset's own groups of classes."""
    groups = getattr(dataset, "class_groups", None)
    if groups is None:
        raise ValueError(
            f'class_groups is "natural", but {type(dataset).__name__} has no class_groups: give '
            "classes_per_task or list the groups"
        )
    return groups


def _check_sizes(classes_per_task: Any) -> list[int]:
    if isinstance(classes_per_task, (str, int)):
        raise TypeError(
            "classes_per_task must list the number of classes of each task, such as [100, 25, 25], "
            f"got {classes_per_task!r}"
        )
    sizes = list(classes_per_task)
    if not sizes:
        raise ValueError("classes_per_task is empty: give the number of classes of each task")
    for number, size in enumerate(sizes, start=1):
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"classes_per_task must hold integers, got {size!r} for task {number}")
        if size < 1:
            raise ValueError(
                f"task {number} would be empty: classes_per_task must be at least 1, got {size}"
            )
    return [int(size) for size in sizes]


class ClassNames:
    """The classes that have images, in label order, to be looked up by label or by name."""

    def __init__(self, labels: NDArray[Any], names: Sequence[Any] | None = None) -> None:
        self.labels: tuple[Label, ...] = tuple(np.unique(labels).tolist())
        names = None if names is None else [_as_text(name) for name in names]
        self._names = _names(self.labels, names)
        self._by_name = {name: label for label, name in self._names.items()}
        self._imageless = set(names or ()) - set(self._by_name)

    def name(self, label: Label) -> str:
        """The name of a class; no two have the same."""
        return self._names[label]

    def find(self, wanted: Any, where: str) -> Label:
        """The label of the class with this label or name; ``where`` is told if there is none."""
        if isinstance(wanted, np.generic):
            wanted = wanted.item()
        if isinstance(wanted, (int, str)) and not isinstance(wanted, bool):
            if wanted in self._names:
                return wanted
            if wanted in self._by_name:
                return self._by_name[str(wanted)]
        raise ValueError(f"{where} holds {wanted!r}, {self._why_unknown(wanted)}")

    def _why_unknown(self, wanted: Any) -> str:
        if isinstance(wanted, str) and wanted in self._imageless:
            return "a class that no image of the dataset belongs to"
        # As they are to be written: the label 3 differs from the name "3".
        known = {**{str(label): label for label in self.labels}, **{n: n for n in self._by_name}}
        near = get_close_matches(str(wanted), known, n=1)
        hint = f"did you mean {known[near[0]]!r}?" if near else f"it has {self._examples()}"
        return f"which is not a class of the dataset; {hint}"

    def _examples(self) -> str:
        shown = ", ".join(repr(self._names[label]) for label in self.labels[:5])
        number = counted(len(self.labels), "class")
        return f"{number}: {shown}{', ...' if len(self.labels) > 5 else ''}"


def _names(labels: Sequence[Label], names: Sequence[str] | None) -> dict[Label, str]:
    if names is None or isinstance(labels[0], str):
        return {label: str(label) for label in labels}
    outside = [label for label in labels if not 0 <= int(label) < len(names)]
    if outside:
        raise ValueError(
            f"the dataset's classes name {counted(len(names), 'class')}, from 0 to "
            f"{len(names) - 1}, but images are labelled {', '.join(map(str, outside))}"
        )
    found = {label: names[int(label)] for label in labels}
    times = Counter(found.values())
    # Some published datasets give two classes one name (ImageNet's crane).
    return {k: name if times[name] == 1 else f"{name} (label {k})" for k, name in found.items()}


def _as_text(name: Any) -> str:
    return ", ".join(map(str, name)) if isinstance(name, (tuple, list)) else str(name)


class MapDataset(Protocol):
    """A dataset with a length and an item for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def read_labels(dataset: MapDataset) -> NDArray[Any]:
    """The dataset's ``labels`` or ``targets``: integers or strings, one per item."""
    kind = type(dataset).__name__
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"the dataset must be map-style, with a length and items; {kind} is not")
    name = "labels" if getattr(dataset, "labels", None) is not None else "targets"
    labels = getattr(dataset, name, None)
    if labels is None:
        raise ValueError(f"{kind} has neither labels nor targets: give it a label for each item")
    array = _to_array(labels)
    if array.ndim != 1 or len(array) != len(dataset):
        raise ValueError(
            f"{kind} has {len(dataset)} items but its {name} have shape {array.shape}: they must "
            "be one per item, in the order of the items"
        )
    if len(array) == 0:
        raise ValueError(f"{kind} is empty: give it items")
    if array.dtype.kind not in "iuU":
        raise ValueError(
            f"the {name} of {kind} must be all integers or all strings, got {_contents(labels)}"
        )
    return array


def read_test_mask(dataset: MapDataset) -> NDArray[np.bool_] | None:
    """The dataset's own split, True for held-out test images; None if it has none."""
    raw = getattr(dataset, "test_mask", None)
    if raw is None:
        return None
    mask = np.asarray(raw)
    if mask.dtype != np.bool_ or mask.shape != (len(dataset),):
        raise ValueError(
            f"the test_mask of {type(dataset).__name__} must be booleans of shape "
            f"({len(dataset)},), one per item, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _to_array(labels: Any) -> NDArray[Any]:
    if isinstance(labels, Tensor):
        return np.asarray(labels.detach().cpu())
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return labels
    items = [x.tolist() if isinstance(x, (Tensor, np.generic)) else x for x in labels]
    # Left to itself numpy would make strings of a mixture.
    plain = {type(x) for x in items} in ({int}, {str})
    return np.asarray(items, dtype=None if plain else object)


def _contents(labels: Any) -> str:
    if isinstance(labels, (Tensor, np.ndarray)) and labels.dtype != object:
        return str(labels.dtype)
    return " and ".join(sorted({type(x).__name__ for x in labels}))
