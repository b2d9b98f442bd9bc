"""The first config for a folder of images and a model that is there already, as text."""

from __future__ import annotations

from pml_incremental.config import config_from
from pml_incremental.experiment.updating.trained_weights import TrainedWeights
from pml_incremental.experiment.updating.update_config import update_values
from pml_incremental.suggestions.choices import suggest_strategies, suggest_tasks
from pml_incremental.suggestions.config_file import commented_yaml, explain
from pml_incremental.suggestions.survey import Survey


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
    comments = explain(survey, suggest_tasks(survey, one_task=True), "As in the weights' recipe.")
    return commented_yaml(said, comments, heading)
