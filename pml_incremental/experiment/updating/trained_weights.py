"""Files with the weights of a trained model, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pml_incremental.config import (
    ConfigError,
    ExperimentConfig,
    ObjectSpec,
    config_from,
    parse_yaml,
    read_yaml,
    validate,
)
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import canonical, is_object
from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.experiment.assembly import DEFAULT_BATCH_SIZE
from pml_incremental.experiment.student import OF_ONE_RUN
from pml_incremental.models import read_weights
from pml_incremental.storage import has_checksum, read_tensor_file
from pml_incremental.suggestions.choices import (
    Batch,
    choose_batch,
    suggest_data,
    suggest_recipe,
    suggest_strategies,
    suggest_tasks,
    trunk_at_hand,
    usable_counts,
)
from pml_incremental.suggestions.config_file import commented_yaml, explain
from pml_incremental.suggestions.survey import Survey, survey_folder

#: What a recipe must say for the images' sizes not to matter.
_WHOLE = {"models", "transforms", "loss_funcs", "optimizers", "trainer", "num_epochs"}
_GREY: dict[str, Any] = {"Grayscale": {}}

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


STRATEGY = "command line: --strategy"


def update_config(
    weights: TrainedWeights,
    data: Path,
    name: str,
    strategy: str = "function-matching",
    overrides: Sequence[str] = (),
    output: Path = Path("runs"),
    on_bad_image: OnBadImage = "raise",
    progress: bool = True,
) -> ExperimentConfig:
    """A valid config of one task, all classes of a folder, learned from a trained model.

    Model, losses, optimizers and epochs are those that the weights' recipe has, and otherwise as
    for a new folder. The batch is made smaller where the folder cannot fill it.
    """
    values = update_values(weights, _survey(weights, data, on_bad_image, progress), name)
    values |= {"output": str(output)}
    whole = str(weights.described_by)
    layers = [(whole, values), (STRATEGY, {"strategies": [_in_yaml(strategy)]})]
    config = weights.filled_in(config_from(layers, overrides, whole))
    validate(config)
    return config


def _in_yaml(strategy: str) -> Any:
    """A name, or a name with options: ``correlation: {weight: 40}``."""
    try:
        return parse_yaml(strategy)
    except ConfigError as error:
        raise ConfigError([f"{STRATEGY}: {problem}" for problem in error.problems]) from error


def update_values(weights: TrainedWeights, survey: Survey, name: str) -> dict[str, Any]:
    """The values of such a config, still without the weights."""
    if weights.recipe is None:
        raise ConfigError(
            [
                f"{weights.file} {NO_RECIPE}; name with --config a YAML file that has models and "
                "transforms, such as config.yaml of its run"
            ]
        )
    tasks = suggest_tasks(survey, tasks=1)
    recipe = dict(weights.recipe)
    if not recipe.keys() >= _WHOLE:
        recipe = _completed(recipe, survey, tasks)
    if isinstance(recipe["num_epochs"], list) and recipe["num_epochs"]:
        recipe["num_epochs"] = recipe["num_epochs"][-1]  # as of the tasks after the first
    if weights.image_mode == "L":
        recipe["transforms"] = _from_grey(recipe["transforms"])
    _fit_batch(recipe, survey, tasks[0])
    return {**suggest_data(survey, name, tasks), **recipe}


def _survey(
    weights: TrainedWeights, data: Path, on_bad_image: OnBadImage, progress: bool
) -> Survey:
    is_whole = weights.recipe is None or weights.recipe.keys() >= _WHOLE
    looks = on_bad_image == "skip" or not is_whole
    return survey_folder(data, on_bad_image, looks, progress)


def _completed(
    recipe: Mapping[str, Any], survey: Survey, tasks: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """A recipe that says little, with what is usual for a trained model."""
    trunk = trunk_at_hand(survey)
    trained = replace(trunk, learning_rate=1e-4, iterations=200, is_pretrained=True)
    usual = canonical(suggest_recipe(survey, tasks, trained))
    if isinstance(recipe["models"], dict) and recipe["models"].get("embedder") is None:
        del usual["optimizers"]["embedder_optimizer"]
    return {**usual, **recipe}


def _from_grey(transforms: Mapping[str, Any]) -> dict[str, Any]:
    """For a model that takes grey pictures: those of folders are RGB."""
    return {side: [_GREY, *steps] for side, steps in transforms.items()}


def _fit_batch(recipe: dict[str, Any], survey: Survey, task: Sequence[str]) -> None:
    """Make the batch one that the new classes can fill, in place.

    What is malformed stays, for validation to report.
    """
    keys = canonical({key: recipe.get(key) for key in ("trainer", "sampler")})
    if not is_object(keys["trainer"]):
        return
    ((trainer, arguments),) = keys["trainer"].items()
    counts, size = usable_counts(survey, task), arguments.get("batch_size", DEFAULT_BATCH_SIZE)
    match size, keys["sampler"]:
        case int(), None:
            batch = Batch(min(size, sum(count.train for count in counts)), 1)
        case int(), {"MPerClassSampler": {"m": int(m), **others}} if m > 0:
            batch = choose_batch([counts], m, max(1, size // m))
            recipe["sampler"] = {"MPerClassSampler": {"m": batch.per_class, **others}}
        case _:
            return
    recipe["trainer"] = {trainer: {**arguments, "batch_size": batch.size}}


def trained_first_config(
    weights: TrainedWeights, survey: Survey, name: str, heading: str = ""
) -> str:
    """A config that teaches a trained model the classes of a folder, all at once."""
    values = update_values(weights, survey, name)
    values["strategies"] = suggest_strategies()
    whole = str(weights.described_by)
    plain = weights.filled_in(config_from([(whole, values)], (), whole)).to_yaml_dict()
    keys = {*values, "trained_start"}
    said = {k: value for k, value in plain.items() if k in keys and value not in (None, {}, [])}
    said["models"] = {key: model for key, model in plain["models"].items() if model is not None}
    comments = explain(survey, suggest_tasks(survey, tasks=1), "As in the weights' recipe.")
    return commented_yaml(said, comments, heading)
