"""The first config for a folder of images, as text."""

from __future__ import annotations

from pml_incremental.suggestions.choices import (
    suggest_data,
    suggest_recipe,
    suggest_strategies,
    suggest_tasks,
)
from pml_incremental.suggestions.comments import explain
from pml_incremental.suggestions.config_file import commented_yaml
from pml_incremental.suggestions.survey import Survey
from pml_incremental.suggestions.trunks import trunk_at_hand


def first_config(survey: Survey, name: str, heading: str) -> str:
    """A config that learns the classes of a folder in several tasks, from scratch.

    Args:
        survey: what is in the folder, whose images were looked at.
        name: of the run.
        heading: a comment above all.

    Returns:
        YAML text with comments.

    Raises:
        FewClassesError: if there are not two usable classes for each of two tasks.
    """
    tasks = suggest_tasks(survey)
    trunk = trunk_at_hand(survey)
    values = {
        **suggest_data(survey, name, tasks),
        **suggest_recipe(survey, tasks, trunk),
        "strategies": suggest_strategies(),
    }
    return commented_yaml(values, explain(survey, tasks, trunk.note), heading)
