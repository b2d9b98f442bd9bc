"""The kinds of values that keys of a config hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from pml_incremental.config.objects import ObjectSpec
from pml_incremental.config.strategy_labels import spec_label


def drop_nulls(value: Any) -> Any:
    """An empty section is an empty mapping, and null removes an entry."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return value


def empty_if_null(value: Any) -> Any:
    """An empty section has its defaults; null for one of its keys keeps its meaning."""
    return {} if value is None else value


def check_epochs(value: Any) -> Any:
    """Numbers of epochs that mean something."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries or any(type(n) is not int or n < 1 for n in entries):
        raise ValueError(
            f"must be a whole number of at least 1, or a list of them, one per task; got {value!r}"
        )
    return value


def check_distinct(specs: tuple[ObjectSpec, ...]) -> tuple[ObjectSpec, ...]:
    """At least one, and each with a name of its own."""
    if not specs:
        raise ValueError("names no strategy; name at least one, such as finetune")
    called: dict[str, ObjectSpec] = {}
    for spec in specs:
        label = spec_label(spec)
        if label not in called:
            called[label] = spec
        elif called[label] == spec:
            raise ValueError(
                f"{spec.class_name!r} is there twice with the same arguments; remove one"
            )
        else:
            raise ValueError(
                f"{called[label].to_yaml_form()} and {spec.to_yaml_form()} would both be called "
                f"{label!r}, in tables and as folders; remove one, or change its options"
            )
    return specs


ModuleName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
PositiveInt = Annotated[StrictInt, Field(ge=1)]
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Object = Annotated[ObjectSpec, BeforeValidator(ObjectSpec.parse)]
ObjectsByName = Annotated[dict[str, Object], BeforeValidator(drop_nulls)]
Objects = Annotated[tuple[Object, ...], BeforeValidator(lambda value: value or ())]
Strategies = Annotated[tuple[Object, ...], AfterValidator(check_distinct)]
Epochs = Annotated[int | tuple[int, ...], BeforeValidator(check_epochs)]
LossWeights = Annotated[dict[str, FiniteNumber], BeforeValidator(drop_nulls)]
