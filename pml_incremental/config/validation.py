"""Checking what a config describes before anything is built or trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pml_incremental.config.argument_checks import find_argument_problems
from pml_incremental.config.errors import ConfigError
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.key_checks import find_key_problems
from pml_incremental.config.layout import KeyPath, find_objects
from pml_incremental.config.merge import Origins
from pml_incremental.config.schema import ExperimentConfig
from pml_incremental.config.trial import find_trial_problem

Problem = tuple[KeyPath, str]


def validate(config: ExperimentConfig) -> None:
    """Check that a config can be run, as far as that is known without data.

    Every class must exist; every argument must be known to its class, be of the right type and, if
    it has no default and the program does not fill it in, be there; losses, miners, transforms,
    optimizers and strategies must accept the values; keys must fit each other.

    Args:
        config: to check.

    Raises:
        ConfigError: with one line for each problem, naming the file and the key.
    """
    problems = list(find_problems(config.to_yaml_dict()))
    if problems:
        raise report(problems, config.origins)


def find_problems(config: dict[str, Any]) -> Iterator[Problem]:
    """Path and description of each problem in a canonical config."""
    forbidden = list(find_import_problems(config))
    if forbidden:  # and nothing may be looked up that would import it
        yield from forbidden
        return
    yield from find_key_problems(config)
    flawed: list[KeyPath] = []
    objects = list(find_objects(config))
    for path, category, name, kwargs in objects:
        for problem_path, message in find_argument_problems(path, category, name, kwargs):
            flawed.append(problem_path)
            yield problem_path, message
    for path, category, name, kwargs in objects:
        if not any(problem_path[: len(path)] == path for problem_path in flawed):
            refusal = find_trial_problem(category, name, kwargs)
            if refusal is not None:
                yield (*path, name), refusal


def report(problems: Iterable[Problem], origins: Origins) -> ConfigError:
    """The error that names where each problem stands."""
    return ConfigError(
        [f"{origins.of(path)}: {'.'.join(map(str, path))}: {message}" for path, message in problems]
    )
