"""The config of a run that starts from a trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pml_incremental.config import ConfigError, ExperimentConfig, config_from, parse_yaml, validate
from pml_incremental.config.layout import canonical, is_object
from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.experiment.assembly import DEFAULT_BATCH_SIZE
from pml_incremental.experiment.trained_weights import TrainedWeights
from pml_incremental.suggestions.choices import (
    Batch,
    choose_batch,
    commented_yaml,
    explain,
    suggest_data,
    suggest_recipe,
    suggest_strategies,
    suggest_tasks,
    trunk_at_hand,
    usable_counts,
)
from pml_incremental.suggestions.survey import Survey, survey_folder

#: What a recipe must say for the images' sizes not to matter.
_WHOLE = {"models", "transforms", "loss_funcs", "optimizers", "trainer", "num_epochs"}
_GREY: dict[str, Any] = {"Grayscale": {}}
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
    recipe = weights.checked_recipe()
    tasks = suggest_tasks(survey, tasks=1)
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
    return {
        key: [_GREY, *steps] if isinstance(steps, list) else steps
        for key, steps in transforms.items()
    }


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
