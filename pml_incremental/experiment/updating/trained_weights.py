"""Files with the weights of a trained model, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.config import (
    ConfigError,
    ExperimentConfig,
    ObjectSpec,
    config_from,
    read_yaml,
)
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import canonical
from pml_incremental.experiment.recipe import OF_ONE_RUN
from pml_incremental.models import read_weights
from pml_incremental.storage import has_checksum, read_tensor_file

NO_RECIPE = "does not say what model its weights are of"
_PARALLEL = "module."  # before all names of a model saved from DataParallel


@dataclass(frozen=True)
class TrainedWeights:
    """Where the weights of trunk and embedder are, and how they are used."""

    file: Path  # with the trunk's
    sources: Mapping[str, Mapping[str, str]]
    described_by: Path  # the file that says what model they are of
    recipe: Mapping[str, Any] | None
    image_mode: str = "RGB"  # of the pictures that it takes

    @classmethod
    def read(
        cls, file: Path, embedder: Path | None = None, config: Path | None = None
    ) -> TrainedWeights:
        """Look into files of weights."""
        recipe, image_mode = _read_description(file)
        sources = _find_sources(file)
        if embedder is not None:
            sources["embedder"] = _find_sources(embedder, "embedder")["embedder"]
        if config is not None:
            return cls(file, sources, config, _recipe_in(config))
        return cls(file, sources, file, recipe, image_mode)

    def model_config(self) -> ExperimentConfig:
        """A config for the model alone, whose data are nowhere."""
        if self.recipe is None:
            raise ConfigError(
                [f"{self.file} {NO_RECIPE}; give weights that update or a run has written"]
            )
        no_data = {
            "name": "model",
            "dataset": {"ImageFolder": {"root": ""}},
            "scenario": {"ClassIncrementalScenario": {}},
        }
        whole, values = str(self.file), {**no_data, **self.recipe}
        own = [path[-1] for path, _ in find_import_problems(canonical(values))]
        if own:  # a file from elsewhere must not decide what code is imported
            raise ConfigError(
                [
                    f"{self.file} is of a model with {', '.join(map(str, own))}, and a weights "
                    "file may not have code of one's own imported; name the model by its run, "
                    "whose config may: --run, --strategy and --task"
                ]
            )
        return self.filled_in(config_from([(whole, values)], (), whole))

    def filled_in(self, config: ExperimentConfig) -> ExperimentConfig:
        """The config with these weights for its models."""
        values = config.to_yaml_dict()
        embedder = values["models"]["embedder"]
        if embedder is not None and "embedder" not in self.sources:
            raise ConfigError(
                [f"{self.file} has no weights for the embedder; name their file with --embedder"]
            )
        if embedder is None and "embedder" in self.sources:
            raise ConfigError(
                [f"{self.file} has weights of an embedder; add models.embedder, such as MLP"]
            )
        for part, source in self.sources.items():
            spec = ObjectSpec.parse(values["models"][part])
            values["models"][part] = {spec.class_name: {**spec.kwargs, **source}}
        filled = ExperimentConfig.model_validate({**values, "trained_start": True})
        return filled.with_origins(config.origins)


def _read_description(file: Path) -> tuple[dict[str, Any] | None, str]:
    """Recipe and image mode that a run wrote; no recipe in files of others and earlier versions."""
    if file.suffix != ".safetensors" or not file.is_file() or not has_checksum(file):
        return None, "RGB"
    match read_tensor_file(file, "make or fetch it again").state:
        case {"recipe": dict(recipe), "image_mode": str(image_mode)}:
            # Whoever made the file decides nothing of the run, and no imports.
            return {k: value for k, value in recipe.items() if k not in OF_ONE_RUN}, image_mode
    return None, "RGB"


def _find_sources(file: Path, alone: str = "trunk") -> dict[str, dict[str, str]]:
    """The models whose weights are in a file, by the beginnings of the names."""
    names = list(read_weights(file))
    start = _PARALLEL if all(name.startswith(_PARALLEL) for name in names) else ""
    found = {}
    for part in ("trunk", "embedder"):
        prefix = f"{start}{part}."
        if any(name.startswith(prefix) for name in names):
            found[part] = {"weights_file": str(file), "weights_prefix": prefix}
    if alone in found:
        return found
    return {alone: {"weights_file": str(file), "weights_prefix": start}}


def _recipe_in(config: Path) -> dict[str, Any]:
    values: dict[str, Any] = canonical(read_yaml(config))
    missing = [key for key in ("models", "transforms") if key not in values]
    if missing:
        raise ConfigError([f"{config}: has no {' and no '.join(missing)}; add them"])
    dropped = OF_ONE_RUN - {"allow_imports"}  # in a config that its user names, they are wanted
    return {key: value for key, value in values.items() if key not in dropped}
