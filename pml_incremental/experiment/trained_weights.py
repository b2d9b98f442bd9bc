"""A trained model: files of weights, and what says which model they are of."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.config import (
    ConfigError,
    ExperimentConfig,
    ObjectSpec,
    config_from,
    read_yaml,
    validate,
)
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import canonical
from pml_incremental.config.trunk_transforms import FROM_TRUNK, with_written_transforms
from pml_incremental.experiment.student import OF_ONE_RUN
from pml_incremental.models.weights import MODEL, describe_missing, read_weights
from pml_incremental.storage import has_checksum, read_tensor_file

#: Keys of a config that decide what embeddings a model gives.
OF_EMBEDDING = ("models", "transforms", "tester", "allow_imports")
_LARGEST_IMAGE = 3 * 4096 * 4096
NO_RECIPE = "does not describe its model"


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of trunk and embedder, and how they are used.

    Args:
        file: of the weights.
        recipe: what model they are of: keys of a config; None if nothing says it.
        described_by: the file that says it.
        image_mode: of the pictures that the model takes, if the weights file says it.
        embedder: a file of its own with the embedder's weights.
        weights_prefix: of the names in the files that are meant; see ``load_weights``.
        allow_imports: modules of your own that the recipe may name, see ``allow_imports`` of a
            config.
        image_shape: of one transformed picture, (C, H, W), if the weights file says it.
    """

    file: Path
    recipe: Mapping[str, Any] | None
    described_by: Path
    image_mode: str | None = None
    embedder: Path | None = None
    weights_prefix: str = ""
    allow_imports: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None

    @classmethod
    def read(
        cls,
        file: Path,
        config: Path | Mapping[str, Any] | None = None,
        embedder: Path | None = None,
        weights_prefix: str = "",
        allow_imports: Sequence[str] = (),
    ) -> TrainedWeights:
        """Look into a file of weights, and into the YAML file, if any, that describes them.

        Args:
            file: of the weights.
            config: a YAML file that has models and transforms, or what is in one.
            embedder: see the class.
            weights_prefix: see the class.
            allow_imports: see the class.

        Raises:
            ConfigError: if the file is not there, or the config has no models or no transforms.
            ValueError: if the file is damaged.
        """
        file = weights_in(file)
        if not file.is_file():
            raise ConfigError([describe_missing(file)])
        recipe, image_mode, image_shape = _read_description(file)
        described_by = config if isinstance(config, Path) else file
        if config is not None:
            values = read_yaml(config) if isinstance(config, Path) else config
            recipe = _recipe_in(values, described_by)
            if not isinstance(config, Path):
                recipe.pop("allow_imports", None)  # a gallery's manifest may be of others too
        return cls(
            file,
            recipe,
            described_by,
            image_mode,
            embedder,
            weights_prefix,
            tuple(allow_imports),
            image_shape,
        )

    @property
    def files(self) -> list[Path]:
        """All files of weights."""
        return [self.file] if self.embedder is None else [self.file, self.embedder]

    def checked_recipe(self, keys: Collection[str] | None = None) -> dict[str, Any]:
        """The recipe, or some keys of it, with the imports that it is allowed.

        Raises:
            ConfigError: if nothing says what model the weights are of, or it has code of your own
                that may not be imported.
        """
        if self.recipe is None:
            read_weights(self.file)  # which says what else it is
            raise ConfigError(
                [
                    f"{self.file} {NO_RECIPE}; name with --config a YAML file that has models and "
                    "transforms, such as config.yaml of its run"
                ]
            )
        values = {key: self.recipe[key] for key in self.recipe if keys is None or key in keys}
        if keys is not None and isinstance(values.get("models"), dict):  # it is merged
            values["models"] = {k: v for k, v in values["models"].items() if k != "adapter"}
        if self.allow_imports:
            stated = self.recipe.get("allow_imports") or ()
            values["allow_imports"] = [*stated, *self.allow_imports]
        # A file from elsewhere must not decide what code is imported.
        own = [str(path[-1]) for path, _ in find_import_problems(canonical(values))]
        if own:
            packages = sorted({name.split(":")[0].split(".")[0] for name in own})
            options = " ".join(f"--allow-imports {package}" for package in packages)
            raise ConfigError(
                [
                    f"{self.described_by} is of a model with {', '.join(own)}, which is code that "
                    f"could do anything: write {options} if you trust it"
                ]
            )
        return with_written_transforms(values)

    def embedding_recipe(self) -> dict[str, Any]:
        """What of the recipe decides the embeddings, and imports nothing by itself."""
        recipe = self.checked_recipe(OF_EMBEDDING)
        return {key: value for key, value in recipe.items() if key != "allow_imports"}

    def model_config(self) -> ExperimentConfig:
        """A valid config for the model alone, whose data are nowhere, with these weights.

        Raises:
            ConfigError: as :meth:`checked_recipe`, or if the recipe is not valid.
        """
        config = self.filled_in(self.plain_config())
        validate(config)
        return config

    def plain_config(self) -> ExperimentConfig:
        """The same without weights, and not yet validated."""
        values = {
            "name": "model",
            "dataset": {"ImageFolder": {"root": ""}},
            "scenario": {"ClassIncrementalScenario": {}},
            "loss_funcs": {"metric_loss": "TripletMarginLoss"},
            "optimizers": {},
            "trainer": "IncrementalMetricLoss",
            "num_epochs": 1,
            **self.checked_recipe(OF_EMBEDDING),
        }
        whole = str(self.described_by)
        return config_from([(whole, values)], (), whole)

    def filled_in(self, config: ExperimentConfig) -> ExperimentConfig:
        """The config with these weights for its models."""
        values = config.to_yaml_dict()
        prefix = {"weights_prefix": self.weights_prefix} if self.weights_prefix else {}
        for part, file in (("trunk", self.file), ("embedder", self.embedder or self.file)):
            if values["models"][part] is not None:
                spec = ObjectSpec.parse(values["models"][part])
                source = {**spec.kwargs, "weights_file": str(file), **prefix}
                values["models"][part] = {spec.class_name: source}
            elif part == "embedder" and self.embedder is not None:
                raise ConfigError(
                    [f"{self.embedder} has an embedder's weights; add models.embedder, such as MLP"]
                )
        filled = ExperimentConfig.model_validate({**values, "trained_start": True})
        return filled.with_origins(config.origins)


def weights_in(place: Path) -> Path:
    """The file of weights at a place, which may be a folder that export wrote."""
    return place / MODEL if (place / MODEL).is_file() else place


def _read_description(
    file: Path,
) -> tuple[dict[str, Any] | None, str | None, tuple[int, ...] | None]:
    """Recipe, image mode and shape that were written; none in files of others and of before."""
    if file.suffix != ".safetensors" or not has_checksum(file):
        return None, None, None
    match read_tensor_file(file, "make or fetch it again").state:
        case {"recipe": dict(recipe), "image_mode": str(image_mode), **others}:
            shape: Any = others.get("image_shape")
            # The file's maker decides nothing of the run, and no imports.
            kept = {key: value for key, value in recipe.items() if key not in OF_ONE_RUN}
            return kept, image_mode, None if shape is None else checked_shape(shape, file)
    return None, None, None


def checked_shape(shape: Any, file: Path) -> tuple[int, int, int]:
    """The shape (C, H, W) that a file says its model's images have; ValueError if it is none."""
    is_shape = isinstance(shape, list | tuple) and [type(n) for n in shape] == [int] * 3
    if not is_shape or min(shape) < 1 or math.prod(shape) > _LARGEST_IMAGE:
        raise ValueError(
            f"{file}: image_shape must be three positive integers, channels, height and width, "
            f"whose product is at most {_LARGEST_IMAGE}, got {shape!r}"
        )
    return shape[0], shape[1], shape[2]


def _recipe_in(config: Mapping[str, Any], described_by: Path) -> dict[str, Any]:
    values: dict[str, Any] = canonical(dict(config))
    missing = [key for key in ("models", "transforms") if key not in values]
    if missing:
        hint = f" (transforms: {FROM_TRUNK} takes those of the trunk)"
        raise ConfigError(
            [
                f"{described_by}: has no {' and no '.join(missing)}; add them"
                + (hint if "transforms" in missing else "")
            ]
        )
    dropped = OF_ONE_RUN - {"allow_imports"}  # in a config that its user names, they are wanted
    return {key: value for key, value in values.items() if key not in dropped}
