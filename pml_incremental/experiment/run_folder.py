"""Where a run writes, and what it finds there when it is started again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pml_incremental.config import dump_yaml, read_yaml

# These may change between two starts of one run: they decide neither data nor training.
_FREE_KEYS = ("output", "records", "strategies", "threads")


class RunFolder:
    """The folder of one run.

    Layout::

        config.yaml  environment.json  metrics.json
        pictures/
        before/      evaluation.json
        task_1/      evaluation.json  model.safetensors        (shared by the strategies)
        <strategy>/
            task_2/  evaluation.json  model.safetensors  memory.safetensors
            own_recall_at_1.csv ...
        records/     of the scopes task_1, <strategy>/task_2, <strategy>/summary, if asked for

    ``evaluation.json`` is written last, so a stage that has one is whole.

    Args:
        path: the folder; made if missing.
        config: the resolved config as plain values.

    Raises:
        ValueError: if the folder holds a run with another config; it says which keys differ.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        stored = path / "config.yaml"
        if stored.exists():
            _check_same_run(path, read_yaml(stored), config)
        elif path.exists() and any(path.iterdir()):
            raise ValueError(
                f"{path} exists and is not a run's folder: choose another name or output"
            )
        path.mkdir(parents=True, exist_ok=True)
        self.write_text("config.yaml", dump_yaml(dict(config)))

    def file(self, name: str) -> Path:
        """The path of a file, with its parent folder made."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).exists()

    def write_text(self, name: str, text: str) -> Path:
        """Write a file whole or not at all."""
        target = self.file(name)
        temporary = _beside(target)
        temporary.write_text(text)
        os.replace(temporary, target)
        return target

    def write_json(self, name: str, values: Any) -> Path:
        """Write plain values as JSON."""
        return self.write_text(name, json.dumps(values, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Read what :meth:`write_json` wrote; None if there is no such file."""
        target = self.path / name
        return json.loads(target.read_text()) if target.exists() else None

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors as safetensors, whole or not at all."""
        target = self.file(name)
        temporary = _beside(target)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
        os.replace(temporary, target)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read what :meth:`write_tensors` wrote."""
        return load_file(self.path / name)


def _beside(target: Path) -> Path:
    """A temporary file of this process's own: others may be writing to the same run."""
    return target.with_name(f"{target.name}.{os.getpid()}.part")


def _check_same_run(path: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    keys = [key for key in {**stored, **config} if key not in _FREE_KEYS]
    changed = [key for key in keys if stored.get(key) != config.get(key)]
    if changed:
        lines = "\n".join(
            f"  {key}: {stored.get(key)} there, {config.get(key)} now" for key in changed
        )
        raise ValueError(
            f"{path} holds a run with another config:\n{lines}\n"
            "Give this run a new name, or delete that folder"
        )
