"""A config as a file that explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pml_incremental.config import dump_yaml
from pml_incremental.suggestions.choices import (
    suggest_data,
    suggest_recipe,
    suggest_strategies,
    suggest_tasks,
    trunk_at_hand,
)
from pml_incremental.suggestions.survey import Survey, counted


def commented_yaml(
    values: Mapping[str, Any], comments: Mapping[str, str], heading: str = ""
) -> str:
    """A config as YAML, with comments above its keys."""
    parts = [_comment(heading)]
    for key, value in values.items():
        is_single = not isinstance(value, dict | list)
        comment = _comment(comments.get(key, ""))
        gap = "\n" if comment and any(parts) else ""
        parts += [gap, comment, dump_yaml({key: value}, compact=not is_single)]
    return "".join(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def explain(survey: Survey, tasks: Sequence[Sequence[str]], trunk_note: str = "") -> dict[str, str]:
    """Comments for the keys of a suggested config."""
    return {
        "seed": "Of all random choices: the split, the batches, the weights to start from.",
        "dataset": "\n".join(survey.describe()),
        "scenario": _about_tasks(survey, tasks),
        "strategies": (
            "What is done against forgetting; each learns all tasks. finetune does nothing, joint\n"
            "trains on the old images too: the lower and the upper bound. More:\n"
            "pml-incremental list strategies"
        ),
        "trained_start": (
            "The models have learned other classes before, which the first task is to keep too."
        ),
        "transforms": (
            "Smaller images are learned faster, larger ones show more. Take RandomHorizontalFlip\n"
            "out where left and right matter. Both lists must scale colours as the trunk wants it."
        ),
        "models": "\n".join(
            filter(None, [trunk_note, "The last layer_sizes is the width of the embeddings."])
        ),
        "loss_funcs": "What pulls images of a class together; pml-incremental list losses",
        "sampler": "m images of each class in a batch, so that every image has others to match.",
        "trainer": "Classes in a batch: batch_size / m. Every task must have so many.",
        "num_epochs": "Of each task, or a list with one number for each; the last one repeats.",
    }


def _about_tasks(survey: Survey, tasks: Sequence[Sequence[str]]) -> str:
    lines = ["The classes arrive in tasks, in alphabetical order (or class_groups: [[name, ...]])."]
    for number, task in enumerate(tasks, start=1):
        which = task[0] if len(task) == 1 else f"{task[0]} to {task[-1]}"
        lines.append(f"  task {number}: {counted(len(task), 'class')}, {which}")
    if len(tasks) == 1:
        lines = ["All classes arrive at once; classes_per_task: [4, 2] would make two tasks."]
    if survey.has_split:
        lines.append("The images under test are held out to measure with.")
    else:
        lines.append("A share of each class's images, test_fraction, is held out to measure with.")
    lines.append("on_small_class: drop leaves out classes with too few images, raise stops there.")
    return "\n".join(lines)


def first_config(survey: Survey, name: str, heading: str, tasks: int | None = None) -> str:
    """A config that learns the classes of a folder in several tasks, from scratch."""
    groups = suggest_tasks(survey, tasks)
    trunk = trunk_at_hand(survey)
    values = {
        **suggest_data(survey, name, groups),
        **suggest_recipe(survey, groups, trunk),
        "strategies": suggest_strategies(),
    }
    return commented_yaml(values, explain(survey, groups, trunk.note), heading)
