"""The classes of a dataset under their labels and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pml_incremental.scenarios._map_dataset import Label


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
        return f"which is no class of the dataset; {hint}"

    def _examples(self) -> str:
        shown = ", ".join(repr(self._names[label]) for label in self.labels[:5])
        return f"{len(self.labels)} classes: {shown}{', ...' if len(self.labels) > 5 else ''}"


def _names(labels: Sequence[Label], names: Sequence[str] | None) -> dict[Label, str]:
    if names is None or isinstance(labels[0], str):
        return {label: str(label) for label in labels}
    outside = [label for label in labels if not 0 <= int(label) < len(names)]
    if outside:
        raise ValueError(
            f"the dataset's classes name {len(names)} classes, 0 to {len(names) - 1}, but images "
            f"are labelled {', '.join(map(str, outside))}"
        )
    found = {label: names[int(label)] for label in labels}
    times = Counter(found.values())
    # Some published datasets give two classes one name (ImageNet's crane).
    return {k: name if times[name] == 1 else f"{name} (label {k})" for k, name in found.items()}


def _as_text(name: Any) -> str:
    return ", ".join(map(str, name)) if isinstance(name, (tuple, list)) else str(name)
