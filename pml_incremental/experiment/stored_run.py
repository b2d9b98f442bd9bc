"""A finished run, read back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pml_incremental.config import ExperimentConfig, load_config, read_yaml, validate
from pml_incremental.experiment.assembly import build_scenario, choose_device
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.experiment.student import Student
from pml_incremental.experiment.task_loop import (
    Measurements,
    build_strategy,
    memory_file,
    spec_label,
)
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.strategies import Component, Strategy
from pml_incremental.strategies.estimation import Estimation
from pml_incremental.trainers import Teacher


class UnfitRunError(ValueError):
    """A folder does not hold a run that can be looked at in the way asked for."""


@dataclass(frozen=True)
class StoredStrategy:
    """One strategy of a finished run.

    Attributes:
        label: its name in tables and folders.
        strategy: built anew, its components without memory.
        models: M_1 .. M_T, frozen.
        measurements: of the model before any task and after each.
    """

    label: str
    strategy: Strategy
    models: list[Teacher]
    measurements: list[Measurements]

    @property
    def bytes_of_priors(self) -> int:
        """What storing M_1 .. M_{T-2} for the last task takes."""
        return sum(
            tensor.nbytes
            for model in self.models[:-2]
            for module in (model.trunk, model.embedder)
            for tensor in module.state_dict().values()
        )


@dataclass(frozen=True)
class StoredRun:
    """A finished run: its config, its data and its folder."""

    config: ExperimentConfig
    folder: RunFolder
    scenario: ClassIncrementalScenario
    device: torch.device

    @classmethod
    def open(cls, path: str | Path) -> StoredRun:
        """Read a run's folder.

        Args:
            path: the folder.

        Returns:
            The run.

        Raises:
            UnfitRunError: if the folder is not that of a run, or the run is not finished.
            ConfigError: if its config does not hold any more.
        """
        path = Path(path)
        stored = path / "config.yaml"
        if not stored.is_file():
            raise UnfitRunError(
                f"{path} is no run's folder: it has no config.yaml; name a folder that "
                "`pml-incremental run` has written, such as runs/glyphs"
            )
        config = load_config([stored])
        validate(config)
        run = cls(
            config,
            RunFolder(path, read_yaml(stored)),
            build_scenario(config),
            choose_device(config.device),
        )
        run.check_finished()
        return run

    def strategies(self) -> Mapping[str, Strategy]:
        """The strategies by their labels, built anew."""
        return {
            spec_label(spec): build_strategy(self.config, spec) for spec in self.config.strategies
        }

    def check_finished(self) -> None:
        """Raise an UnfitRunError unless every stage is there, with the banks of its strategy."""
        for label, strategy in self.strategies().items():
            has_bank = any(isinstance(part, Estimation) for part in strategy.components)
            for task in self.scenario:
                stage = _stage(label, strategy, task)
                needed = [f"{stage}/evaluation.json", f"{stage}/model.safetensors"]
                needed += [memory_file(label, task)] if has_bank else []
                for name in needed:
                    if not self.folder.has(name):
                        raise UnfitRunError(
                            f"{self.folder.path} is not finished: {name} is missing; continue the "
                            "run with the command that started it"
                        )

    def read_strategy(self, label: str, strategy: Strategy) -> StoredStrategy:
        """All models of a strategy and what they can do."""
        student = Student(self.config, self.scenario[0], self.device)
        models = []
        measurements: list[Measurements] = [self.folder.read_json("before/evaluation.json")]
        for task in self.scenario:
            stage = _stage(label, strategy, task)
            student.grow(task.labels.stop)
            student.load(self.folder.read_tensors(f"{stage}/model.safetensors"))
            models.append(Teacher.snapshot(student.models))
            measurements.append(self.folder.read_json(f"{stage}/evaluation.json"))
        return StoredStrategy(label, strategy, models, measurements)

    def restore(self, stored: StoredStrategy, component: Component, task: Task) -> None:
        """Give a component of the strategy the memory that it had after a task."""
        prefix = f"{stored.strategy.components.index(component)}."
        memory = self.folder.read_tensors(memory_file(stored.label, task))
        component.load_state_dict(
            {
                name.removeprefix(prefix): tensor
                for name, tensor in memory.items()
                if name.startswith(prefix)
            }
        )


def _stage(label: str, strategy: Strategy, task: Task) -> str:
    """The folder of a model; the first may be common to all strategies."""
    is_shared = task.number == 1 and strategy.shares_first_task
    return task.name if is_shared else f"{label}/{task.name}"
