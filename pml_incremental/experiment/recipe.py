"""What a weights file says of its model: how to build it, feed it and go on with it."""

from __future__ import annotations

from typing import Any

from PIL.Image import Image

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.config.registry import resolve
from pml_incremental.experiment.running.outputs import as_picture
from pml_incremental.scenarios import ClassIncrementalScenario

# What belongs to one run. Everything else in a config describes a model and how it learns.
# allow_imports stays out: a file from elsewhere must not decide what code is imported.
OF_ONE_RUN = frozenset(
    (
        *("name", "seed", "output", "device", "threads", "deterministic", "allow_imports"),
        *("dataset", "scenario", "records", "checkpoint", "strategies", "trained_start"),
    )
)
_SOURCES = ("weights_file", "weights_prefix")
# What makes functions of torchvision, timm and ours load weights of others, and what keeps them.
_DOWNLOADS = {"weights": None, "pretrained": False}
# With weights, torchvision's also rescale what these are given.
_CHANGED_BY_WEIGHTS = ("googlenet", "inception_v3")


def recipe_of(config: ExperimentConfig) -> dict[str, Any]:
    """The part of a config that describes a model and how it learns, whatever the images."""
    plain = without_sources(config).to_yaml_dict()
    return {key: value for key, value in plain.items() if key not in OF_ONE_RUN}


def describe_model(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> dict[str, Any]:
    """What is written into a weights file."""
    return {"recipe": recipe_of(config), "image_mode": image_mode(scenario)}


def image_mode(scenario: ClassIncrementalScenario) -> str:
    """The mode of the pictures that a scenario's dataset gives, such as ``RGB`` or ``L``."""
    picture: Image = scenario[0].test.with_transform(as_picture)[0][0]
    return picture.mode


def without_sources(config: ExperimentConfig) -> ExperimentConfig:
    """The config with models that read no weights when they are built: they are given others."""
    models = config.models

    def bare(spec: ObjectSpec | None) -> ObjectSpec | None:
        if spec is None:
            return None
        kwargs = {key: value for key, value in spec.kwargs.items() if key not in _SOURCES}
        if _is_known(spec.class_name):
            kwargs |= {key: none for key, none in _DOWNLOADS.items() if key in kwargs}
        return ObjectSpec(class_name=spec.class_name, kwargs=kwargs)

    parts = {name: bare(getattr(models, name)) for name in ("trunk", "embedder", "classifier")}
    return config.model_copy(update={"models": models.model_copy(update=parts)})


def _is_known(model: str) -> bool:
    """Whether arguments of a model are ours to change: they mean what they are known to mean."""
    package = resolve("model", model).__module__.split(".")[0]
    return package in ("torchvision", "pml_incremental") and model not in _CHANGED_BY_WEIGHTS
