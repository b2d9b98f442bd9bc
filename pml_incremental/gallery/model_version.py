"""Which model a gallery's vectors come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pml_incremental.gallery.image_files import ImageFiles, embed_files
from pml_incremental.storage.whole_file import sha256

# Vectors are searched and moved without PML; only what embeds needs it.
if TYPE_CHECKING:
    from pml_incremental.experiment.embedding_model import EmbeddingModel
    from pml_incremental.experiment.trained_weights import TrainedWeights

# What decides the vectors that a model gives, in its description.
_DECIDING = ("weights_sha256", "embedder_sha256", "weights_prefix", "recipe")


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
        from pml_incremental.experiment.finished_run import FinishedRun

        weights = FinishedRun(self.run).weights(self.strategy, self.task)
        return {**asdict(self), "run": str(self.run), "weights_sha256": sha256(weights)}

    @staticmethod
    def described(
        description: Mapping[str, Any],
        allow_imports: Sequence[str] = (),
        given: WeightsModel | None = None,
    ) -> ModelVersion | WeightsModel:
        """The model that a manifest describes.

        Args:
            description: as :meth:`describe` gives it.
            allow_imports: modules of your own whose classes a weights file's model may be made of.
            given: the same model, where its weights are now.

        Raises:
            ValueError: if its weights are gone or others by now.
        """
        if "name" in description:
            if given is not None:
                return given
            raise ValueError(
                f"the gallery knows its model only by name "
                f"({description['name']}): name its --weights, or search with vectors in Python, "
                "pml_incremental.gallery.search_gallery"
            )
        version: ModelVersion | WeightsModel
        if given is not None:
            version = given
            if given.config is None:
                version = replace(given, config=description.get("recipe"))
        elif "weights" in description:
            embedder = description.get("embedder")
            version = WeightsModel(
                Path(description["weights"]),
                description.get("recipe"),
                None if embedder is None else Path(embedder),
                description.get("weights_prefix", ""),
                tuple(allow_imports),
            )
        else:
            run, strategy = Path(description["run"]), str(description["strategy"])
            version = ModelVersion(run, strategy, int(description["task"]))
        if identity(version.describe()) != identity(description):
            raise ValueError(
                f"the weights of {version.name} are not those that the gallery was built with: "
                "they were trained again, or described in another way; build the gallery again, "
                "move it (gallery update), or search it with --compatible"
            )
        return version

    @cached_property
    def _model(self) -> _Embedder:
        from pml_incremental.experiment.finished_run import FinishedRun

        return _Embedder(FinishedRun(self.run).trained_weights(self.strategy, self.task))

    def embed(self, files: ImageFiles, progress: bool = False) -> Tensor:
        """Embeddings of images as the run's tester makes them, shape (N, d), on the CPU.

        Args:
            files: which images.
            progress: whether to show a progress bar.

        Raises:
            ValueError: if an image cannot be read, or an embedding is not finite.
        """
        return self._model.embed(files, progress)


@dataclass(frozen=True)
class WeightsModel:
    """The model of a file of weights.

    Args:
        weights: the file, as :func:`~pml_incremental.models.load_weights` reads it.
        config: a YAML file that says what model they are of (``models``, ``transforms``), or what
            is in one; default: the weights file says it itself, as those of runs and updates do.
        embedder: a file of its own with the embedder's weights.
        weights_prefix: of the names in the files that are meant, where several models fit.
        allow_imports: modules of your own whose classes the model may be made of.
    """

    weights: Path
    config: Path | Mapping[str, Any] | None = None
    embedder: Path | None = None
    weights_prefix: str = ""
    allow_imports: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short, for people."""
        return self.weights.name

    def describe(self) -> dict[str, Any]:
        """For a manifest: with the files' checksums, and what model the weights are of.

        Raises:
            ValueError: if a file is missing, or the config is not valid.
        """
        files = {"weights": self.weights, "embedder": self.embedder}
        found: dict[str, Any] = {}
        for key, file in files.items():
            if file is None:
                continue
            if not file.is_file():
                raise ValueError(f"{file} is missing: the gallery's model is gone")
            found |= {key: str(file), f"{key}_sha256": sha256(file)}
        if self.weights_prefix:
            found["weights_prefix"] = self.weights_prefix
        if self.config is not None:
            found["recipe"] = self._trained.embedding_recipe()
        return found

    @cached_property
    def _trained(self) -> TrainedWeights:
        from pml_incremental.experiment.trained_weights import TrainedWeights

        return TrainedWeights.read(
            self.weights, self.config, self.embedder, self.weights_prefix, self.allow_imports
        )

    @cached_property
    def _model(self) -> _Embedder:
        return _Embedder(self._trained)

    def embed(self, files: ImageFiles, progress: bool = False) -> Tensor:
        """Embeddings of images as the model's tester makes them, shape (N, d), on the CPU.

        Args:
            files: which images.
            progress: whether to show a progress bar.

        Raises:
            ValueError: if nothing says what model the weights are of, they are not of that model,
                an image cannot be read, or an embedding is not finite.
        """
        return self._model.embed(files, progress)


class _Embedder:
    """A trained model that embeds pictures; it is built for the first of them."""

    def __init__(self, trained: TrainedWeights) -> None:
        self.trained = trained
        self.model: EmbeddingModel | None = None

    def embed(self, files: ImageFiles, progress: bool) -> Tensor:
        from pml_incremental.experiment.assembly import choose_device, place
        from pml_incremental.experiment.embedding_model import EmbeddingModel

        if self.model is None:
            self.model = EmbeddingModel.of(self.trained, files.picture(0))
        config = self.model.config
        device = choose_device(config.device)
        parts = {"trunk": self.model.trunk, "embedder": self.model.embedder}
        models = place(parts, config.models, device)
        tester = config.tester.build("tester", data_device=device, dataloader_num_workers=0)
        background = config.transforms.background
        return embed_files(files, self.model.prepare_rgb, tester, models, progress, background)


def identity(model: Mapping[str, Any]) -> str:
    """What tells a model from others: what decides its vectors, or its name."""
    if "name" in model:
        return str(model["name"])
    deciding = {key: model[key] for key in _DECIDING if key in model}
    if deciding.keys() == {"weights_sha256"}:
        return str(model["weights_sha256"])
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def short_name(model: Mapping[str, Any]) -> str:
    """What people call it."""
    if "task" in model:
        return f"task {model['task']}"
    return str(model["name"]) if "name" in model else Path(model["weights"]).name
