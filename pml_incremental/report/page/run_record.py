"""What a run's folder holds, read for a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.metrics import TaskMatrix
from pml_incremental.wording import some_of

#: Where a run draws what a strategy finds.
RETRIEVALS = "pictures/retrieval_{}.png"


@dataclass(frozen=True)
class RunRecord:
    """The files of a finished run that a page shows.

    Attributes:
        name: of the run.
        strategies: strategy -> metric -> task matrix.
        config: the text of ``config.yaml``.
        environment: the contents of ``environment.json``.
        retrievals: strategy -> its retrieval picture, where there is one.
        diagnosis: the contents of ``diagnosis.json``, where the run was diagnosed.
        update: the contents of ``update.json``, where the run was that of an update.
    """

    name: str
    strategies: dict[str, dict[str, TaskMatrix]]
    config: str
    environment: dict[str, Any]
    retrievals: dict[str, Path]
    diagnosis: dict[str, Any] | None = None
    update: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read a run's folder.

        Raises:
            ValueError: if a file is missing or is not what a run writes; it is named.
        """
        metrics = _read_json(folder / "metrics.json")
        try:
            name = str(metrics["name"])
            strategies = {
                strategy: {
                    metric: TaskMatrix(entry["values"]) for metric, entry in matrices.items()
                }
                for strategy, matrices in metrics["strategies"].items()
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{folder / 'metrics.json'} is not what a run writes: {error!r}"
            ) from (error)
        diagnosis, update = folder / "diagnosis.json", folder / "update.json"
        pictures = {strategy: folder / RETRIEVALS.format(strategy) for strategy in strategies}
        return cls(
            name=name,
            strategies=strategies,
            config=_read(folder / "config.yaml"),
            environment=_read_json(folder / "environment.json"),
            retrievals={name: path for name, path in pictures.items() if path.is_file()},
            diagnosis=_read_json(diagnosis) if diagnosis.is_file() else None,
            update=_read_json(update) if update.is_file() else None,
        )


def folder_to_give(folder: Path) -> str:
    """What to give in place of a folder that is not that of a finished run."""
    inside = [child.parent.name for child in sorted(folder.glob("*/metrics.json"))]
    if not inside:
        return "give the folder of a finished run"
    advice = f"give a folder of a finished run in it: {some_of(inside)}"
    if (folder / "report").is_dir():
        advice += f"; what compare wrote about all of them is in {folder / 'report'}"
    return advice


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is missing: {folder_to_give(path.parent)}")
    return path.read_text(encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
