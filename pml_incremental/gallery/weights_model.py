"""A model of a weights file, as ``update`` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torch import Tensor

from pml_incremental.experiment.assembly import (
    build_transform,
    build_trunk_and_embedder,
    choose_device,
    place,
)
from pml_incremental.experiment.updating.trained_weights import TrainedWeights
from pml_incremental.gallery.image_files import ImageFiles, embed_files
from pml_incremental.storage.checksum import sha256


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
