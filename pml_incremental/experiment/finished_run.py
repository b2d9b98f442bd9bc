"""A run's folder, opened again: its data and the models of its stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pml_incremental.config import ExperimentConfig, load_config, suggest
from pml_incremental.config.objects import spec_label
from pml_incremental.experiment.assembly import (
    build_models,
    build_scenario,
    build_strategy,
    choose_device,
)
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.recipe import without_sources
from pml_incremental.models import tensors_under
from pml_incremental.report.page.run_record import folder_to_give
from pml_incremental.scenarios import ClassIncrementalScenario
from pml_incremental.storage import read_tensor_file
from pml_incremental.strategies import Strategy
from pml_incremental.testers import IncrementalTester


class FinishedRun:
    """What a run measured and can still be asked."""

    def __init__(self, folder: Path) -> None:
        missing = [n for n in ("config.yaml", "metrics.json") if not (folder / n).is_file()]
        if missing:
            raise ValueError(
                f"{folder} is not the folder of a finished run: it has no "
                + f"{' and no '.join(missing)}; {folder_to_give(folder)}"
            )
        self.folder = folder
        self.config: ExperimentConfig = load_config([folder / "config.yaml"], [])
        self.device = choose_device(self.config.device)
        self._scenario: ClassIncrementalScenario | None = None

    @property
    def scenario(self) -> ClassIncrementalScenario:
        """Its tasks, read when first asked for."""
        if self._scenario is None:
            self._scenario = build_scenario(self.config)
        return self._scenario

    @property
    def strategies(self) -> list[str]:
        """Names of its strategies, as of their folders."""
        written = (self.folder / "metrics.json").read_text(encoding="utf-8")
        return list(json.loads(written)["strategies"])

    def weights(self, strategy: str, task: int) -> Path:
        """The file with the weights of a strategy's model after a task, counted from 1."""
        if strategy not in self.strategies:
            hint = suggest(strategy, self.strategies)
            raise ValueError(f"{self.folder} has no strategy {strategy!r}; {hint}")
        place = self.folder / strategy
        if task == 1 and self._shares_first_task(strategy):
            place = self.folder
        file = place / f"task_{task}" / "model.safetensors"
        if not file.is_file():
            raise ValueError(f"{file} is missing: the weights of that stage were not kept")
        return file

    def built_strategies(self) -> dict[str, Strategy]:
        """The strategies of its config by their labels, built anew."""
        return {
            spec_label(spec): build_strategy(self.config, spec) for spec in self.config.strategies
        }

    def _shares_first_task(self, label: str) -> bool:
        """Whether a strategy's first model is that of plain training, as of most strategies."""
        strategy = self.built_strategies().get(label)
        return strategy is not None and strategy.shares_first_task

    def models(self, strategy: str, task: int) -> dict[str, nn.Module]:
        """Trunk and embedder of a strategy after a task; raises as :meth:`weights`."""
        file = self.weights(strategy, task)
        tensors = read_tensor_file(file, f"delete {file.parent} and start the run again").tensors
        models = build_models(without_sources(self.config), self.scenario[0], self.device)
        for name in ("trunk", "embedder"):
            models[name].load_state_dict(tensors_under(f"{name}.", tensors))
        return {name: models[name].eval() for name in ("trunk", "embedder")}

    def models_before_tasks(self) -> dict[str, nn.Module]:
        """Trunk and embedder as they were before any task, trained or not."""
        seed_everything(self.config.seed, 0)
        models = build_models(self.config, self.scenario[0], self.device)
        return {name: models[name].eval() for name in ("trunk", "embedder")}

    def tester(self) -> IncrementalTester:
        """The run's tester."""
        tester: IncrementalTester = self.config.tester.build(
            "tester", data_device=self.device, dataloader_num_workers=0
        )
        return tester

    def embed(self, models: dict[str, nn.Module]) -> tuple[list[Tensor], list[Tensor]]:
        """Embeddings and labels of the held-out images of each task, as the tester makes them."""
        tester = self.tester()
        embeddings, labels = [], []
        for task in self.scenario:
            x, y = tester.get_all_embeddings(task.test, models["trunk"], models["embedder"])
            embeddings.append(x.cpu())
            labels.append(y[:, 0].cpu())
        return embeddings, labels

    def stage_embeddings(
        self, strategy: str, advance: Callable[[], object] = lambda: None
    ) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Embeddings by the model after each task: stage -> task -> (N, d); and labels by task."""
        stages: list[list[Tensor]] = []
        labels: list[Tensor] = []
        with torch.no_grad():
            for task in range(1, len(self.scenario) + 1):
                embeddings, labels = self.embed(self.models(strategy, task))
                stages.append(embeddings)
                advance()
        return stages, labels
