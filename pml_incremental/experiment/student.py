"""The model that learns, through all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from pml_incremental.config import ExperimentConfig, model_sources
from pml_incremental.distributed import Processes, share_batchnorm
from pml_incremental.experiment.assembly import (
    build_losses,
    build_models,
    with_model_arguments,
)
from pml_incremental.experiment.running.outputs import as_picture
from pml_incremental.models import (
    GrowingClassifier,
    copy_leading_block,
    output_width,
    tensors_under,
)
from pml_incremental.scenarios import ClassIncrementalScenario, Task

# What belongs to one run. Everything else in a config describes a model and how it learns.
# allow_imports stays out: a file from elsewhere must not decide what code is imported.
OF_ONE_RUN = frozenset(
    (
        *("name", "seed", "output", "device", "threads", "deterministic", "allow_imports"),
        *("dataset", "scenario", "records", "checkpoint", "strategies", "trained_start"),
    )
)


class Student:
    """Models and loss functions of one strategy, which grow as classes arrive."""

    def __init__(
        self,
        config: ExperimentConfig,
        first_task: Task,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.processes = Processes() if processes is None else processes
        self.models = build_models(config, first_task, device)
        if self.processes.is_distributed and config.sync_batchnorm:
            self.models = {k: share_batchnorm(model, device) for k, model in self.models.items()}
        images = first_task.test[0][0].unsqueeze(0).to(device)
        self.embedding_size = output_width(
            nn.Sequential(self.models["trunk"], self.models["embedder"]), images
        )
        self.losses = self._build_losses(num_classes=first_task.labels.stop)

    def grow(self, num_classes: int) -> None:
        """Make room for new classes and keep what was learned of the old ones."""
        classifier = self.models.get("classifier")
        if isinstance(classifier, GrowingClassifier):
            classifier.grow(num_classes)
        grown = self._build_losses(num_classes)
        for name, loss in self.losses.items():
            copy_leading_block(loss, grown[name])
        self.losses = grown

    def modules(self) -> dict[str, nn.Module]:
        """Everything that can have parameters, by the name its optimizer has."""
        return {**self.models, **self.losses}

    def tensors(self) -> dict[str, Tensor]:
        """All weights and buffers, as ``<module>.<name>``."""
        return {
            f"{name}.{key}": tensor.detach()
            for name, module in self.modules().items()
            for key, tensor in module.state_dict().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave; grow to the same number of classes first."""
        for name, module in self.modules().items():
            module.load_state_dict(tensors_under(f"{name}.", tensors))

    def _build_losses(self, num_classes: int) -> dict[str, nn.Module]:
        losses = build_losses(self.config.loss_funcs, num_classes, self.embedding_size)
        return {name: loss.to(self.device) for name, loss in losses.items()}


def recipe_of(config: ExperimentConfig) -> dict[str, Any]:
    """The part of a config that describes a model and how it learns, whatever the images."""
    plain = without_sources(config).to_yaml_dict()
    return {key: value for key, value in plain.items() if key not in OF_ONE_RUN}


def describe_model(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> dict[str, Any]:
    """What is written into a weights file."""
    return {"recipe": recipe_of(config), "image_mode": image_mode(scenario)}


def image_mode(scenario: ClassIncrementalScenario) -> str:
    """The mode of the pictures that a scenario's dataset gives, such as ``RGB`` or ``L``."""
    picture: Image = scenario[0].test.with_transform(as_picture)[0][0]
    return picture.mode


def without_sources(config: ExperimentConfig) -> ExperimentConfig:
    """The config with models that read no weights when they are built: they are given others."""
    return with_model_arguments(config, model_sources.without_sources)
