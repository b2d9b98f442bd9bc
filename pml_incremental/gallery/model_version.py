"""Which model a gallery's vectors come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from pml_incremental.experiment.assembly import (
    build_transform,
    build_trunk_and_embedder,
    choose_device,
    place,
)
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.student import image_mode
from pml_incremental.experiment.updating.trained_weights import TrainedWeights
from pml_incremental.gallery.image_files import ImageFiles, embed_files
from pml_incremental.storage.whole_file import sha256


@dataclass(frozen=True)
class ModelVersion:
    """A strategy's model after a task of a finished run.

    Args:
        run: the run's folder.
        strategy: one of its strategies.
        task: the last task learned, from 1.
    """

    run: Path
    strategy: str
    task: int

    @property
    def name(self) -> str:
        """Short, for people."""
        return f"{self.run.name}/{self.strategy}/task_{self.task}"

    def describe(self) -> dict[str, Any]:
        """For a manifest: with the checksum of the weights, which tells versions apart."""
        weights = FinishedRun(self.run).weights(self.strategy, self.task)
        return {**asdict(self), "run": str(self.run), "weights_sha256": sha256(weights)}

    @classmethod
    def described(cls, description: dict[str, Any]) -> ModelVersion | WeightsModel:
        """The model that a manifest describes.

        Raises:
            ValueError: if its weights are gone or others by now.
        """
        version: ModelVersion | WeightsModel
        if "name" in description:
            raise ValueError(
                f"the vectors are of a model that is known by its name alone "
                f"({description['name']}), so that nothing can be embedded: search with vectors in "
                "Python, pml_incremental.gallery.search_gallery"
            )
        if "weights" in description:
            version = WeightsModel(Path(description["weights"]))
        else:
            run, strategy = Path(description["run"]), str(description["strategy"])
            version = cls(run, strategy, int(description["task"]))
        if version.describe()["weights_sha256"] != description["weights_sha256"]:
            raise ValueError(
                f"the weights of {version.name} are not those that the gallery was built with: "
                "they were learned again; build the gallery anew"
            )
        return version

    @cached_property
    def _loaded(self) -> tuple[FinishedRun, dict[str, torch.nn.Module]]:
        run = FinishedRun(self.run)
        return run, run.models(self.strategy, self.task)

    def embed(self, files: ImageFiles, progress: bool = False) -> Tensor:
        """Embeddings of images as the run's tester makes them, shape (N, d), on the CPU.

        Args:
            files: which images.
            progress: whether to show a progress bar.

        Raises:
            ValueError: if an image cannot be read, or an embedding is not finite.
        """
        run, models = self._loaded
        transform = build_transform(run.config.transforms.eval)
        mode = image_mode(run.scenario)

        def prepare(picture: Image) -> Any:
            return transform(picture.convert(mode))

        return embed_files(files, prepare, run.tester(), models, progress)


@dataclass(frozen=True)
class WeightsModel:
    """The model of a weights file that says itself what model its weights are of.

    Args:
        weights: the file.
    """

    weights: Path

    @property
    def name(self) -> str:
        """Short, for people."""
        return self.weights.name

    def describe(self) -> dict[str, Any]:
        """For a manifest: with the file's checksum, which tells versions apart.

        Raises:
            ValueError: if there is no such file.
        """
        if not self.weights.is_file():
            raise ValueError(f"{self.weights} is missing: the gallery's model is gone")
        return {"weights": str(self.weights), "weights_sha256": sha256(self.weights)}

    def embed(self, files: ImageFiles, progress: bool = False) -> Tensor:
        """Embeddings of images as the model's tester makes them, shape (N, d), on the CPU.

        Args:
            files: which images.
            progress: whether to show a progress bar.

        Raises:
            ValueError: if the weights do not say what model they are of, an image cannot be read,
                or an embedding is not finite.
        """
        trained = TrainedWeights.read(self.weights)
        config = trained.model_config()
        transform = build_transform(config.transforms.eval)

        def prepare(picture: Image) -> Any:
            return transform(picture.convert(trained.image_mode))

        device = choose_device(config.device)
        images = prepare(files.picture(0)).unsqueeze(0)
        models = place(build_trunk_and_embedder(config.models, images), config.models, device)
        tester = config.tester.build("tester", data_device=device, dataloader_num_workers=0)
        models = {name: model.eval() for name, model in models.items()}
        return embed_files(files, prepare, tester, models, progress)


def identity(model: Mapping[str, Any]) -> str:
    """What tells a model from others: the checksum of its weights, or its name."""
    return str(model.get("weights_sha256") or model["name"])


def short_name(model: Mapping[str, Any]) -> str:
    """What people call it."""
    if "task" in model:
        return f"task {model['task']}"
    return str(model["name"]) if "name" in model else Path(model["weights"]).name
