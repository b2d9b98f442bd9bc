"""A finished run with all that its strategies have stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pml_incremental.config import ConfigError, ExperimentConfig
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.running.measurements import Measurements
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.running.stage import Stage
from pml_incremental.experiment.running.strategy_memory import load_component
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.strategies import Component, Strategy
from pml_incremental.strategies.estimation import Estimation
from pml_incremental.trainers import Teacher


class UnfitRunError(ValueError):
    """A folder does not hold a run that can be looked at in the way asked for."""


@dataclass(frozen=True)
class StoredStrategy:
    """One strategy of a finished run."""

    label: str  # its name in tables and folders
    strategy: Strategy  # built anew, its components without memory
    models: list[Teacher]  # M_1 .. M_T, frozen
    measurements: list[Measurements]  # of the model before any task and after each

    @property
    def bytes_of_priors(self) -> int:
        """What storing M_1 .. M_{T-2} for the last task takes."""
        return sum(
            tensor.nbytes
            for model in self.models[:-2]
            for module in model.models().values()
            for tensor in module.state_dict().values()
        )


class StoredRun:
    """A finished run whose every stage is there."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._run = FinishedRun(Path(path))
        except ConfigError:
            raise
        except ValueError as error:
            raise UnfitRunError(str(error)) from error
        self.folder = RunFolder.opened(Path(path))
        self._check_stages()

    @property
    def config(self) -> ExperimentConfig:
        """What decided the run."""
        return self._run.config

    @property
    def scenario(self) -> ClassIncrementalScenario:
        """Its tasks."""
        return self._run.scenario

    def strategies(self) -> Mapping[str, Strategy]:
        """The strategies by their labels, built anew."""
        return self._run.built_strategies()

    def read_strategy(self, label: str, strategy: Strategy) -> StoredStrategy:
        """All models of a strategy and what they can do."""
        models = []
        measurements: list[Measurements] = [self.folder.read_json("before/evaluation.json")]
        for task in self.scenario:
            models.append(Teacher(**self._run.models(label, task.number)))
            stage = Stage(label, strategy, task)
            measurements.append(self.folder.read_json(stage.evaluation_file))
        return StoredStrategy(label, strategy, models, measurements)

    def restore(self, stored: StoredStrategy, component: Component, task: Task) -> None:
        """Give a component of the strategy the memory that it had after a task."""
        stage = Stage(stored.label, stored.strategy, task)
        load_component(stored.strategy, component, self.folder.read_tensors(stage.memory_file))

    def _check_stages(self) -> None:
        for label, strategy in self.strategies().items():
            has_bank = any(isinstance(part, Estimation) for part in strategy.components)
            for task in self.scenario:
                stage = Stage(label, strategy, task)
                needed = [stage.evaluation_file, stage.weights_file]
                needed += [stage.memory_file] if has_bank else []
                for name in needed:
                    if not self.folder.has(name):
                        raise UnfitRunError(
                            f"{self.folder.path} is not finished: {name} is missing; continue the "
                            "run with the command that started it"
                        )
