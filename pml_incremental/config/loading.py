"""From YAML files and command-line overrides to a config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pml_incremental.config.errors import ConfigError
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import canonical
from pml_incremental.config.merge import Origins, merge
from pml_incremental.config.overrides import COMMAND_LINE, apply_override
from pml_incremental.config.schema import ExperimentConfig
from pml_incremental.config.schema_problems import describe_schema_errors
from pml_incremental.config.validation import find_problems, report
from pml_incremental.config.yaml_files import read_yaml


def load_config(paths: Sequence[Path], overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The config that files and overrides describe together.

    Later files are laid over earlier ones and overrides over all: mappings are merged key by key,
    an object of another class replaces, lists and single values replace. The classes and arguments
    of objects are checked by :func:`~pml_incremental.config.validate`.

    Args:
        paths: YAML files, at least one.
        overrides: ``key.sub=value``.

    Returns:
        The config. Its name, if none is given, is that of the first file without suffix.

    Raises:
        ConfigError: with one line for each problem, naming the file (or the command line) and the
            key. If keys are wrong, wrong classes and arguments are reported along with them.
    """
    if not paths:
        raise ConfigError(["no config file is given; name at least one .yaml file"])
    paths = [Path(path) for path in paths]
    name = {"name": paths[0].stem}
    layers = [(f"{paths[0]} (the file's name)", name), *_read_layers(paths)]
    return config_from(layers, overrides, ", ".join(map(str, paths)))


def config_from(
    layers: Sequence[tuple[str, dict[str, Any]]], overrides: Sequence[str], whole: str
) -> ExperimentConfig:
    """The config that layers of plain values and overrides describe together.

    Args:
        layers: where each comes from, for messages, and its values.
        overrides: ``key.sub=value``, laid over all.
        whole: where keys are missing from, for messages.

    Returns:
        The config; see :func:`load_config` for how layers are laid over each other.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    config, origins = _lay_over(layers, overrides, Origins(whole))
    forbidden = list(find_import_problems(config))
    if forbidden:
        raise report(forbidden, origins)
    try:
        return ExperimentConfig.model_validate(config).with_origins(origins)
    except ValidationError as error:
        problems = describe_schema_errors(error, config)
        raise report([*problems, *find_problems(config)], origins) from error


def _read_layers(paths: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    layers: list[tuple[str, dict[str, Any]]] = []
    problems: list[str] = []
    for path in paths:
        try:
            layers.append((str(path), read_yaml(path)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return layers


def _lay_over(
    layers: Sequence[tuple[str, dict[str, Any]]], overrides: Sequence[str], origins: Origins
) -> tuple[dict[str, Any], Origins]:
    config: dict[str, Any] = {}
    for origin, values in layers:
        layer = canonical(values)
        config = merge(config, layer)
        for key, value in layer.items():
            origins.add(value, (key,), origin)
    problems: list[str] = []
    for override in overrides:
        try:
            config, changed = apply_override(config, override)
        except ConfigError as error:
            problems += error.problems
            continue
        for length in range(1, len(changed)):
            origins.known.setdefault(changed[:length], COMMAND_LINE)
        origins.add(_value_at(config, changed), changed, COMMAND_LINE)
    if problems:
        raise ConfigError(problems)
    origins.forget_all_but(config)
    return config, origins


def _value_at(config: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        config = config[key]
    return config
