"""An object described by its class name and arguments; what the program passes, and trials."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    field_validator,
    model_serializer,
)

from pml_incremental.config.errors import ConfigError
from pml_incremental.config.layout import NESTED, KeyPath, canonical_kwargs, category_at, is_object
from pml_incremental.config.model_sources import OF_FILE, may_have_head, without_downloads
from pml_incremental.config.registry import resolve
from pml_incremental.signatures import as_argument, signature_of

# Passed to a class that takes them, unless the config sets them.
PASSED_IF_TAKEN: dict[str, frozenset[str]] = {
    "loss": frozenset({"num_classes", "embedding_size"}),
    "regularizer": frozenset({"num_classes"}),
    "model": frozenset({"in_features", "num_classes"}),
    "sampler": frozenset({"batch_size", "length_before_new_iter"}),
    "trainer": frozenset({"batch_size"}),
    "scenario": frozenset({"seed"}),
}
# Understood with every class of a category, and not passed to it.
UNDERSTOOD_BY_ALL: dict[str, dict[str, Any]] = {"model": OF_FILE}
_LOOP = "set by the task loop"
_BY_QUIET = "switched off by --quiet"
_BY_KEY = "set by the key {0!r} at the top of the config"

# Must not be in a config.
SET_ELSEWHERE: dict[str, dict[str, str]] = {
    "dataset": {
        "transform": _BY_KEY.format("transforms"),
        "transforms": _BY_KEY.format("transforms"),
        "progress": _BY_QUIET,
        "background": _BY_KEY.format("transforms.background"),
    },
    "scenario": {
        "dataset": _BY_KEY.format("dataset"),
        "train_transform": _BY_KEY.format("transforms.train"),
        "test_transform": _BY_KEY.format("transforms.eval"),
    },
    "adapter": {"inference_mode": _LOOP, "task_type": "that of a trunk"},
    "sampler": {"labels": _LOOP},
    "optimizer": {"params": _LOOP},
    "lr_scheduler": {"optimizer": "set by the scheduler's own key"},
    "trainer": {
        **{
            key: _BY_KEY.format(key)
            for key in (
                "models",
                "optimizers",
                "loss_funcs",
                "loss_weights",
                "mining_funcs",
                "sampler",
                "lr_schedulers",
                "dataset",
            )
        },
        "gradient_clippers": _BY_KEY.format("grad_clip_norm"),
        "data_device": _BY_KEY.format("device"),
        "teacher": "the model of the task before",
        "cache_folder": "the task's folder",
        "compares": "set by the strategy",
        "probes": "set by the strategy",
        "turned": "set by the strategy",
        "penalties": "set by the strategy",
        "observers": "set by the strategy",
        "processes": "set by torchrun",
        "checkpointer": _BY_KEY.format("checkpoint"),
        "description": _LOOP,
        "progress": _BY_QUIET,
    },
    "tester": {"data_device": _BY_KEY.format("device"), "processes": "set by torchrun"},
    "record_writer": {"folder": _LOOP, "scope": _LOOP, "run": _LOOP},
}
# Types of arguments that PML does not annotate.
TYPES: dict[str, dict[str, Any]] = {
    "dataset": {"root": str},
    "sampler": {"m": PositiveInt, "num_triplets": PositiveInt},
    "trainer": {
        "batch_size": PositiveInt,
        "iterations_per_epoch": PositiveInt,
        "freeze_trunk_batchnorm": bool,
        "dataloader_num_workers": NonNegativeInt,
    },
    "tester": {
        "batch_size": PositiveInt,
        "dataloader_num_workers": NonNegativeInt,
        "normalize_embeddings": bool,
        "use_trunk_output": bool,
        "pca": PositiveInt,
    },
}
# Of these classes' own arguments, only those above mean something in a task loop.
PML_BASES = {
    "trainer": "pytorch_metric_learning.trainers:BaseTrainer",
    "tester": "pytorch_metric_learning.testers:BaseTester",
}

_PLAIN_MAPPING = TypeAdapter(dict[str, JsonValue])


class ObjectSpec(BaseModel):
    """An object that a config describes and the program builds.

    Args:
        class_name: a name to look up, or ``module:Class``.
        kwargs: plain values; those of arguments such as ``distance`` or ``reducer`` may be objects
            themselves, written ``{ClassName: {kwargs}}``.

    Example:
        >>> spec = ObjectSpec.parse({"TripletMarginLoss": {"distance": "CosineSimilarity"}})
        >>> spec.class_name, spec.kwargs
        ('TripletMarginLoss', {'distance': {'CosineSimilarity': {}}})
        >>> type(spec.build("loss").distance).__name__
        'CosineSimilarity'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_name: str = Field(min_length=1, strict=True)
    kwargs: dict[str, Any] = {}

    @field_validator("kwargs")
    @classmethod
    def _plain_and_canonical(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return canonical_kwargs(_PLAIN_MAPPING.validate_python(kwargs))

    @classmethod
    def parse(cls, value: Any) -> ObjectSpec:
        """An object from the form it has in YAML.

        Args:
            value: ``{ClassName: {kwargs}}``, ``{ClassName: None}``, ``"ClassName"`` or an
                ObjectSpec.

        Returns:
            The object.

        Raises:
            ValueError: if the value has none of these forms.
        """
        if isinstance(value, ObjectSpec):
            return value
        if isinstance(value, str):
            return cls(class_name=value)
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(
                f"must be one object, {{ClassName: {{argument: value}}}}, got {value!r}"
            )
        ((name, kwargs),) = value.items()
        if kwargs is not None and not isinstance(kwargs, dict):
            raise ValueError(
                f"{name!r} is where a class name is expected, with {kwargs!r} for its "
                "arguments; write {ClassName: {argument: value}}"
            )
        return cls(class_name=name, kwargs=kwargs or {})

    @model_serializer
    def to_yaml_form(self) -> dict[str, Any]:
        """``{ClassName: {kwargs}}``."""
        return {self.class_name: self.kwargs}

    def build(self, category: str, **offered: Any) -> Any:
        """The object itself.

        Args:
            category: where its class is looked up, such as ``"loss"``.
            **offered: arguments that the program knows, such as ``num_classes``. Each is passed if
                the class has a parameter of that name and the config does not set it.

        Returns:
            A new instance, with the objects among its arguments built too; a model with the weights
            of its ``weights_file``, if it has one.

        Raises:
            ConfigError: if there is no such class, or it does not take the values.
        """
        target = resolve(category, self.class_name)
        parameters = signature_of(target).parameters
        kwargs = {name: value for name, value in offered.items() if name in parameters}
        common = UNDERSTOOD_BY_ALL.get(category, {}).keys() & self.kwargs.keys()
        given = without_downloads(self.class_name, self.kwargs) if common else self.kwargs
        for name, value in given.items():
            if name not in common:
                inner = _build_inner(value, (name,), offered)
                kwargs[name] = as_argument(parameters.get(name), inner)
        try:
            built = target(**kwargs)
        except (TypeError, RuntimeError, OverflowError, MemoryError) as error:
            raise ConfigError(
                [f"{category} {self.class_name} cannot be made of {self.kwargs}: {error}"]
            ) from error
        if common:
            self._fill(built, **offered)
        return built

    def _fill(self, model: Any, **offered: Any) -> None:
        """Load what ``weights_file`` names."""
        from pml_incremental.models import load_weights

        load_weights(
            model,
            self.kwargs["weights_file"],
            self.kwargs.get("weights_prefix", ""),
            # What is told the width of features comes after a trunk and keeps its last layer.
            keep_head="in_features" in offered or not may_have_head(self.class_name),
            alone=offered.get("alone", False),
        )


def _build_inner(value: Any, path: KeyPath, offered: dict[str, Any]) -> Any:
    """An argument's value, with the objects in it built."""
    category = category_at(path, NESTED)
    if category is not None and is_object(value):
        return ObjectSpec.parse(value).build(category, **offered)
    if isinstance(value, dict):
        return {key: _build_inner(item, (*path, key), offered) for key, item in value.items()}
    if isinstance(value, list):
        return [_build_inner(item, (*path, i), offered) for i, item in enumerate(value)]
    return value


def spec_label(spec: ObjectSpec) -> str:
    """A strategy's name in tables and folders: its name and its options."""
    options = spec.kwargs
    if "+" in spec.class_name:  # a part without options says no more than its name
        options = {part: of_part for part, of_part in options.items() if of_part}
    return "-".join([spec.class_name, *_words(options)])


def _words(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Options in words; those of a part of a sum begin with the part's name."""
    words = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict):
            words += _words(value, f"{prefix}{key}.") if value else [f"{prefix}{key}"]
        else:
            words.append(f"{prefix}{key}_{value}")
    return words


def _parameters() -> dict[str, Any]:
    import torch

    return {"params": [torch.nn.Parameter(torch.zeros(1, 1))]}


def _training() -> dict[str, Any]:
    import torch
    from pytorch_metric_learning.losses import TripletMarginLoss

    models = {name: torch.nn.Linear(1, 1) for name in ("trunk", "embedder")}
    return {
        "models": models,
        "optimizers": {
            f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr=1.0)
            for name, model in models.items()
        },
        "loss_funcs": {"metric_loss": TripletMarginLoss()},
        "mining_funcs": {},
        "dataset": [(torch.zeros(1), 0)],
        "batch_size": 1,
        "data_device": torch.device("cpu"),
        "dataloader_num_workers": 0,
    }


def _training_with_classifier() -> dict[str, Any]:
    import torch

    classifier, parts = torch.nn.Linear(1, 1), _training()
    parts["models"]["classifier"] = classifier
    parts["optimizers"]["classifier_optimizer"] = torch.optim.SGD(classifier.parameters(), lr=1.0)
    parts["loss_funcs"]["classifier_loss"] = torch.nn.CrossEntropyLoss()
    return parts


# Stand-ins for what the program fills in. Other categories read files, load weights or need data.
_STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "loss": lambda: {"num_classes": 2, "embedding_size": 8},
    "miner": dict,
    "adapter": dict,
    "transform": dict,
    "optimizer": _parameters,
    "strategy": dict,
}
# Of trainers those that are known to look at no more than that.
_TRAINERS: dict[str, Callable[[], dict[str, Any]]] = {
    "IncrementalMetricLoss": _training,
    "IncrementalTrainWithClassifier": _training_with_classifier,
}


def find_trial_problem(category: str, name: str, kwargs: dict[str, Any]) -> str | None:
    """Why an object cannot be built, if so."""
    stand_ins = _TRAINERS.get(name) if category == "trainer" else _STAND_INS.get(category)
    if stand_ins is None:
        return None
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            ObjectSpec(class_name=name, kwargs=kwargs).build(category, **stand_ins())
        except Exception as error:  # noqa: BLE001  # PML raises bare Exceptions too
            return f"cannot be built: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    """What the error says or, for a bare assert, the line that was not true."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return " ".join(str(error).split()) or f"{line} ({type(error).__name__})"
