"""One strategy with one seed: the part of a comparison that a process does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.config.own_modules import find_own_modules
from pml_incremental.config.strategy_labels import spec_label
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.experiment.stop_signals import stop_signals
from pml_incremental.experiment.task_loop import TaskLoop
from pml_incremental.experiment.torch_settings import apply_torch_settings
from pml_incremental.metrics import TaskMatrix


@dataclass(frozen=True)
class Share:
    """A part of a run.

    Args:
        config: of the run.
        spec: the strategy, one of the config's; None for what all strategies share.
        progress: whether to show progress bars.
    """

    config: ExperimentConfig
    spec: ObjectSpec | None
    progress: bool = False


def do_share(share: Share) -> None:
    """Learn a share, or what is missing of it, and leave it in the run's folder.

    Args:
        share: what to learn.

    Raises:
        ValueError: as :func:`pml_incremental.experiment.run` does.
    """
    apply_torch_settings(share.config)
    find_own_modules()  # as the command line does, in processes that it started
    with stop_signals() as stop:
        loop = TaskLoop.set_up(share.config, share.progress, stop)
        if share.spec is None:
            loop.learn_start()
            return
        with loop.folder.lock(spec_label(share.spec)):
            matrices = loop.learn_strategy(share.spec)
            stored = {metric: matrix.to_dict()["values"] for metric, matrix in matrices.items()}
            loop.folder.write_checked_json(_file(share.spec), stored)


def read_share(folder: RunFolder, spec: ObjectSpec) -> dict[str, TaskMatrix] | None:
    """What :func:`do_share` left.

    Args:
        folder: of the run.
        spec: the strategy.

    Returns:
        A matrix per metric, or None if the strategy is not finished.
    """
    stored: dict[str, Any] | None = folder.read_json(_file(spec))
    if stored is None:
        return None
    return {metric: TaskMatrix(values) for metric, values in stored.items()}


def _file(spec: ObjectSpec) -> str:
    return f"{spec_label(spec)}/matrices.json"
