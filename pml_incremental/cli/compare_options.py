"""What the options of ``compare`` and ``tune`` mean."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pml_incremental.config import ExperimentConfig
    from pml_incremental.experiment import Engine


class EngineName(str, Enum):
    """Where a comparison runs."""

    LOCAL = "local"
    SUBMITIT = "submitit"


def with_strategies(config: ExperimentConfig, names: str, option: str) -> ExperimentConfig:
    """The config with the strategies named, checked like one from a file.

    Args:
        config: checked already.
        names: with commas between; none for those of the config.
        option: of the command line, which gives them.

    Raises:
        ConfigError: naming the option.
    """
    from pml_incremental.config import ConfigError, validate
    from pml_incremental.experiment import choose_strategies

    if not names.strip():
        return config
    words = [name.strip() for name in names.split(",")]
    where = f"command line: {option}"
    if not all(words):
        raise ConfigError([f"{where}: a name is missing in {names!r}; leave out that comma"])
    chosen = choose_strategies(config, words)
    chosen = chosen.with_origins(config.origins.with_all_of("strategies", where))
    validate(chosen)
    return chosen


def parse_seeds(text: str) -> list[int]:
    """Numbers with commas between.

    Raises:
        ConfigError: if it is something else.

    Example:
        >>> parse_seeds("0, 1,2")
        [0, 1, 2]
    """
    from pml_incremental.config import ConfigError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(
            [f"command line: --seeds: must be different numbers such as 0,1,2, got {text!r}"]
        )
    return [int(word) for word in words]


def choose_engine(
    config: ExperimentConfig, name: EngineName, jobs: int, cluster: str, options: list[str]
) -> Engine:
    """The engine that the options describe."""
    from pml_incremental.config import ConfigError
    from pml_incremental.experiment import LocalProcesses, Submitit, ThisProcess

    if name is EngineName.SUBMITIT:
        logs = Path(config.output) / config.name / "submitit"
        return Submitit(logs, cluster or None, parse_options(options))
    if cluster or options:
        raise ConfigError(
            ["command line: --cluster and --engine-option are for --engine submitit; add it"]
        )
    return ThisProcess() if jobs == 1 else LocalProcesses(jobs)


def parse_options(options: list[str]) -> dict[str, Any]:
    """``key=value`` pairs, the values in YAML.

    Raises:
        ConfigError: if one is something else.

    Example:
        >>> parse_options(["timeout_min=60", "slurm_partition=gpu"])
        {'timeout_min': 60, 'slurm_partition': 'gpu'}
    """
    from pml_incremental.config import ConfigError, parse_yaml

    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError([f"command line: --engine-option: write key=value, got {option!r}"])
        parsed[key] = parse_yaml(value)
    return parsed
