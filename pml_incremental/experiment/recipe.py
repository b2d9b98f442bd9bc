"""What a weights file says of its model: how to build it, feed it and go on with it."""

from __future__ import annotations

from typing import Any

from PIL.Image import Image

from pml_incremental.config import ExperimentConfig, ObjectSpec
from pml_incremental.experiment.retrievals import as_picture
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


def recipe_of(config: ExperimentConfig) -> dict[str, Any]:
    """The part of a config that describes a model and how it learns, whatever the images.

    Args:
        config: of the run that trains it.

    Returns:
        Plain values, as in the config. The files that weights once came from are left out.
    """
    plain = without_sources(config).to_yaml_dict()
    return {key: value for key, value in plain.items() if key not in OF_ONE_RUN}


def describe_model(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> dict[str, Any]:
    """What is written into a weights file.

    Args:
        config: of the run that trains the model.
        scenario: gives an image, whose mode the model's pictures must have.

    Returns:
        ``{"recipe": ..., "image_mode": "RGB"}``.
    """
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
        return ObjectSpec(class_name=spec.class_name, kwargs=kwargs)

    parts = {name: bare(getattr(models, name)) for name in ("trunk", "embedder", "classifier")}
    return config.model_copy(update={"models": models.model_copy(update=parts)})
