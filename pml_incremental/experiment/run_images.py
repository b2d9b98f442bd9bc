"""Whether a run that is gone on with sees the images that it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.scenarios import ClassIncrementalScenario, Task, TaskSubset

_FILE = "images.json"


def check_same_images(folder: RunFolder, scenario: ClassIncrementalScenario) -> None:
    """Note a run's tasks in its folder, or check that they are those noted there.

    Classes and images are told by their names; what is in a file is not looked at.
    """
    now = [_describe(task) for task in scenario]
    before = folder.noted_at_start(_FILE, now)
    if before != now:
        raise ValueError(
            f"the images are not those that {folder.path} began with: {_difference(before, now)}. "
            "Bring them back, or choose another name; to learn classes that came later, start "
            "from its weights: pml-incremental update, or init --weights"
        )


def _describe(task: Task) -> dict[str, Any]:
    return {
        "classes": [str(name) for name in task.class_names],
        "training images": _names_of(task.train),
        "test images": _names_of(task.test),
    }


def _names_of(images: TaskSubset) -> dict[str, Any]:
    digest = hashlib.sha256()
    for index in range(len(images)):
        digest.update(images.image_name(index).encode() + b"\n")
    return {"number": len(images), "names_sha256": digest.hexdigest()}


def _difference(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """What differs in the first task that does."""
    if len(before) != len(now):
        return f"it had {len(before)} tasks, and there are {len(now)} now"
    number, old, new = next(
        (number, old, new)
        for number, (old, new) in enumerate(zip(before, now, strict=True), 1)
        if old != new
    )
    for verb, names in (
        ("brings", [name for name in new["classes"] if name not in old["classes"]]),
        ("lacks", [name for name in old["classes"] if name not in new["classes"]]),
    ):
        if names:
            return f"task {number} now {verb} the class {names[0]}"
    for kind in ("training images", "test images"):
        if old[kind] != new[kind]:
            were, are = old[kind]["number"], new[kind]["number"]
            how = f"{were} {kind}, and has {are} now" if were != are else f"other {kind}"
            return f"task {number} had {how}"
    return f"the classes of task {number} have another order"
