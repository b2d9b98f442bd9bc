"""A trained model as one module: pictures in, embeddings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.config import ConfigError, ExperimentConfig, validate
from pml_incremental.datasets.image_files import read_rgb, to_rgb
from pml_incremental.experiment.assembly import build_transform, build_trunk_and_embedder
from pml_incremental.experiment.student import without_sources
from pml_incremental.experiment.trained_weights import TrainedWeights, checked_shape

#: Side of the blank picture that tells what a transform gives, where there is no picture.
_SIDE = 256


class EmbeddingModel(nn.Module):
    """Trunk and embedder, with what turns a picture into their input.

    Its arguments are those of ``config.json`` in a folder that ``pml-incremental export`` writes,
    and its weights have the names that ``model.safetensors`` there has.

    Args:
        recipe: what model it is: ``models``, ``transforms`` and, if it is not the default,
            ``tester`` of a config. The weights are random; :meth:`load` reads trained ones.
        image_mode: of the pictures that the model takes, such as ``RGB`` or ``L``.
        image_shape: of one transformed picture, (C, H, W); default: that of a blank one.
        allow_imports: modules of your own that the recipe may name.

    Raises:
        ConfigError: if the recipe is not valid.

    Example:
        >>> recipe = {"models": {"trunk": {"SmallConvNet": {"width": 4}}}, "transforms": {}}
        >>> model = EmbeddingModel(recipe, image_mode="L").eval()
        >>> picture = Image.new("RGB", (32, 32))
        >>> model(model.prepare(picture).unsqueeze(0)).shape
        torch.Size([1, 16])
    """

    def __init__(
        self,
        recipe: Mapping[str, Any],
        image_mode: str = "RGB",
        image_shape: Sequence[int] | None = None,
        allow_imports: Sequence[str] = (),
    ) -> None:
        super().__init__()
        file = Path("config.json")
        # A file from elsewhere must not decide what code is imported.
        if not isinstance(recipe, Mapping):
            raise ConfigError([f"{file}: recipe must have models and transforms, got {recipe!r}"])
        plain = {key: value for key, value in recipe.items() if key != "allow_imports"}
        trained = TrainedWeights(file, plain, file, allow_imports=tuple(allow_imports))
        config = trained.plain_config()
        validate(config)
        shape = None if image_shape is None else checked_shape(image_shape, file)
        self._build(without_sources(config), image_mode, shape)

    @classmethod
    def load(
        cls,
        weights: Path,
        config: Path | Mapping[str, Any] | None = None,
        embedder: Path | None = None,
        weights_prefix: str = "",
        allow_imports: Sequence[str] = (),
    ) -> EmbeddingModel:
        """The model of a file of weights, ready to embed.

        Args:
            weights: a file that ``update`` or a run wrote, a checkpoint of your own, or a folder
                that ``pml-incremental export`` wrote.
            config: a YAML file that says what model it is, for weights that do not.
            embedder: a file of its own with the embedder's weights.
            weights_prefix: how the names in the file begin, where several models fit.
            allow_imports: modules of your own that the model may be made of.

        Raises:
            ConfigError: if nothing says what model the weights are of, or it is not valid.
            ValueError: if the file is damaged, or the weights do not fit.
        """
        return cls.of(TrainedWeights.read(weights, config, embedder, weights_prefix, allow_imports))

    @classmethod
    def of(cls, trained: TrainedWeights, picture: Image.Image | None = None) -> EmbeddingModel:
        """The model of weights that were looked into, built for a picture or for a blank one."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        shape = trained.image_shape if picture is None else None
        model._build(trained.model_config(), trained.image_mode or "RGB", shape, picture)
        return model.eval()

    def _build(
        self,
        config: ExperimentConfig,
        image_mode: str,
        image_shape: Sequence[int] | None,
        picture: Image.Image | None = None,
    ) -> None:
        self.config, self.image_mode = config, image_mode
        self.transform = build_transform(config.transforms.eval)
        if image_shape is None:
            image_shape = self.prepare(picture or Image.new("RGB", (_SIDE, _SIDE))).shape
        self.image_shape = tuple(image_shape)
        self.normalizes: bool = config.tester.build("tester").normalize_embeddings
        models = build_trunk_and_embedder(config.models, torch.zeros(1, *self.image_shape))
        self.trunk, self.embedder = models["trunk"], models["embedder"]

    def prepare(self, picture: Path | str | Image.Image) -> Tensor:
        """A picture as the model takes it, shape (C, H, W).

        Args:
            picture: its file, which is read as those of datasets and galleries are, or what Pillow
                opened. Transparent parts are drawn on the recipe's background.

        Raises:
            ValueError: naming the file, if it cannot be read.
        """
        background = self.config.transforms.background
        if isinstance(picture, Image.Image):
            return self.prepare_rgb(to_rgb(ImageOps.exif_transpose(picture), background))
        return self.prepare_rgb(read_rgb(Path(picture), background))

    def prepare_rgb(self, picture: Image.Image) -> Tensor:
        """An upright RGB picture without transparency as the model takes it, shape (C, H, W).

        Args:
            picture: as datasets and galleries read it.
        """
        prepared: Tensor = self.transform(picture.convert(self.image_mode))
        return prepared

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings, of unit length unless the recipe's tester leaves them as they are.

        Args:
            images: prepared pictures, shape (N, C, H, W).

        Returns:
            Shape (N, d).
        """
        embeddings: Tensor = self.embedder(self.trunk(images))
        return normalize(embeddings, dim=1) if self.normalizes else embeddings
