"""Where a run writes, and what it finds there when it is started again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from pml_incremental.config import dump_yaml, read_yaml
from pml_incremental.distributed import Processes
from pml_incremental.models.weights import MODEL
from pml_incremental.scenarios import ClassIncrementalScenario, Task, TaskSubset
from pml_incremental.storage import (
    FolderLock,
    is_leftover,
    read_checked_json,
    read_tensor_file,
    remove_leftovers,
    write_checked_json,
    write_tensor_file,
    write_text_whole,
)
from pml_incremental.wording import counted

_FILE = "images.json"

# These may change between two starts of one run: they decide neither data nor training.
_FREE_KEYS = ("output", "strategies", "threads", "checkpoint", "allow_imports", "records")
# What is there before anything is learned or measured.
_OF_THE_START = ("config.yaml", "environment.json", "images.json", "old_weights.json")
# Keys that runs of earlier versions lack, with what they did.
_FORMER: dict[str, Any] = {
    "deterministic": False,
    "sync_batchnorm": True,
    "trained_start": False,
    "models": {"compile": False},
}


class RunFolder:
    """The folder of one run.

    Layout::

        config.yaml  environment.json  images.json  metrics.json
        pictures/
        before/      evaluation.json
        task_1/      evaluation.json  model.safetensors        (shared by the strategies)
        <strategy>/
            task_2/  evaluation.json  model.safetensors  memory.safetensors
            own_recall_at_1.csv ...
        records/     of the scopes task_1, <strategy>/task_2, <strategy>/summary, if asked for
        locks/       one for each strategy

    ``evaluation.json`` is written last, so a stage that has one is whole. While a task is learned,
    its folder also holds ``checkpoint.safetensors``.

    Of several processes the first one reads and writes and tells the others, which need not see
    the folder; all call the same methods in the same order.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        processes: Processes | None = None,
        moved: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.processes = Processes() if processes is None else processes
        self.processes.on_rank_zero(lambda: self._begin(config, moved or {}))

    def _begin(self, config: Mapping[str, Any], moved: Mapping[str, str]) -> None:
        path, stored = self.path, self.path / "config.yaml"
        if stored.exists():
            if not self.is_untouched():
                _check_same_run(path, _with_moved(read_yaml(stored), moved), config)
        elif _holds_files(path):
            raise ValueError(
                f"{path} exists and is not a run's folder: choose another name or output"
            )
        remove_leftovers(path)
        self.write_text("config.yaml", dump_yaml(dict(config)))

    @classmethod
    def opened(cls, path: Path) -> RunFolder:
        """The folder of a run that is there already, as it is: nothing in it is touched."""
        folder = cls.__new__(cls)
        folder.path, folder.processes = path, Processes()
        return folder

    def is_untouched(self) -> bool:
        """Whether all that happened here was to begin, and nobody is at work."""
        children = [child for child in self.path.rglob("*") if child.is_file()]
        return all(
            child.name in _OF_THE_START or child.suffix == ".lock" or is_leftover(child)
            for child in children
        )

    def noted_at_start(self, name: str, now: Any) -> Any:
        """What a file says of the start; that is now where nothing was learned or noted yet."""
        before = self.read_json(name)
        if before is None or self.is_untouched():
            self.write_checked_json(name, now)
            return now
        return before

    def file(self, name: str) -> Path:
        """The path of a file, with its parent folder made."""
        target = self.path / name
        self.processes.on_rank_zero(lambda: target.parent.mkdir(parents=True, exist_ok=True))
        return target

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.processes.on_rank_zero((self.path / name).exists)

    @contextmanager
    def lock(self, part: str) -> Iterator[None]:
        """A lock on a folder in it, such as a strategy's, that one run at a time may fill."""
        lock = FolderLock(self.path / "locks" / f"{part}.lock", f"{part} in {self.path}")
        with ExitStack() as held:
            self.processes.on_rank_zero(lambda: held.enter_context(lock), for_others=lambda _: None)
            yield

    def write_text(self, name: str, text: str) -> Path:
        """Write a file whole or not at all."""
        self.processes.on_rank_zero(lambda: write_text_whole(self.path / name, text))
        return self.path / name

    def write_json(self, name: str, values: Any) -> Path:
        """Write plain values as JSON, for people and other programs."""
        return self.write_text(name, json.dumps(values, indent=2) + "\n")

    def write_checked_json(self, name: str, values: Any) -> None:
        """Write plain values that the run resumes from, with a checksum."""
        self.processes.on_rank_zero(lambda: write_checked_json(self.path / name, values))

    def read_json(self, name: str) -> Any:
        """Read what either of them wrote; None if there is no such file."""
        target = self.path / name
        return self.processes.on_rank_zero(
            lambda: read_checked_json(target, _remedy(target)) if target.exists() else None
        )

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], state: Any = None) -> None:
        """Write tensors, and plain values, as safetensors with a checksum, whole or not at all."""
        self.processes.on_rank_zero(lambda: write_tensor_file(self.path / name, tensors, state))

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read what :meth:`write_tensors` wrote."""
        target = self.path / name
        return self.processes.on_rank_zero(
            lambda: read_tensor_file(target, _remedy(target)).tensors
        )


def _holds_files(path: Path) -> bool:
    """Whether a folder has anything but what a process left that was killed as it began."""
    return path.exists() and any(not is_leftover(child) for child in path.iterdir())


def _remedy(target: Path) -> str:
    what = f"the folder {target.parent}" if target.name == MODEL else "that file"
    return f"delete {what} and start the run again, which makes it again"


def _check_same_run(path: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    keys = [key for key in {**stored, **config} if key not in _FREE_KEYS]
    changes = [
        change for key in keys for change in _changes(_value(stored, key), _value(config, key), key)
    ]
    if changes:
        lines = "\n".join(changes)
        raise ValueError(
            f"{path} has a run with a different config:\n{lines}\n"
            "Choose another name (of update, another --out), or delete that folder"
        )


def _with_moved(values: Any, moved: Mapping[str, str]) -> Any:
    """The same values, with the present paths of files that were elsewhere."""
    if isinstance(values, dict):
        return {key: _with_moved(value, moved) for key, value in values.items()}
    return moved.get(values, values) if isinstance(values, str) else values


def _changes(there: Any, now: Any, path: str) -> Iterator[str]:
    """A line for each innermost key that differs."""
    if isinstance(there, dict) and isinstance(now, dict):
        for key in {**there, **now}:
            yield from _changes(there.get(key), now.get(key), f"{path}.{key}")
    elif there != now:
        yield f"  {path}: {there} there, {now} now"


def _value(config: Mapping[str, Any], key: str) -> Any:
    former = _FORMER.get(key)
    value = config.get(key, former)
    return {**former, **value} if isinstance(former, dict) else value


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
        return f"it had {counted(len(before), 'task')}, and has {len(now)} now"
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
