"""Configs: YAML files, command-line overrides, and the objects they describe."""

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.loading import config_from, load_config
from pml_incremental.config.objects import ObjectSpec
from pml_incremental.config.registry import CATEGORIES, PLURALS, resolve
from pml_incremental.config.schema import (
    CheckpointSpecs,
    ExperimentConfig,
    ModelSpecs,
    RecordSpecs,
    TransformSpecs,
)
from pml_incremental.config.shipped import available, find_config, first_sentence, shipped_configs
from pml_incremental.config.validation import validate
from pml_incremental.config.yaml_files import dump_yaml, parse_yaml, read_yaml

__all__ = [
    "CATEGORIES",
    "PLURALS",
    "CheckpointSpecs",
    "ConfigError",
    "ExperimentConfig",
    "ModelSpecs",
    "ObjectSpec",
    "RecordSpecs",
    "TransformSpecs",
    "available",
    "config_from",
    "dump_yaml",
    "find_config",
    "first_sentence",
    "load_config",
    "parse_yaml",
    "read_yaml",
    "resolve",
    "shipped_configs",
    "suggest",
    "validate",
]
