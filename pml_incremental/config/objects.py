"""An object described by its class name and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    field_validator,
    model_serializer,
)

from pml_incremental.config.layout import NESTED, KeyPath, canonical_kwargs, category_at, is_object
from pml_incremental.config.registry import resolve
from pml_incremental.config.signatures import signature_of
from pml_incremental.config.supplied import UNDERSTOOD_BY_ALL
from pml_incremental.config.values import as_argument

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
                f"{name!r} stands where a class name is expected, with {kwargs!r} for its "
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
            ConfigError: if there is no such class.
        """
        target = resolve(category, self.class_name)
        parameters = signature_of(target).parameters
        kwargs = {name: value for name, value in offered.items() if name in parameters}
        common = UNDERSTOOD_BY_ALL.get(category, {}).keys() & self.kwargs.keys()
        for name, value in self.kwargs.items():
            if name not in common:
                inner = _build_inner(value, (name,), offered)
                kwargs[name] = as_argument(parameters.get(name), inner)
        built = target(**kwargs)
        if common:
            # What is told the width of features comes after a trunk and keeps its last layer.
            weights = {name: self.kwargs[name] for name in common}
            _fill(built, keep_head="in_features" in offered, **weights)
        return built


def _fill(model: Any, keep_head: bool, weights_file: str, weights_prefix: str = "") -> None:
    from pml_incremental.models import load_weights

    load_weights(model, weights_file, weights_prefix, keep_head)


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
