"""The options that name a trained model, the same for every command that takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from pml_incremental.gallery import Gallery, ModelVersion, WeightsModel

WEIGHTS = "A trained model: a weights file written by update or a run, or your own checkpoint."
GALLERYS_MODEL = "The gallery's model, if its weights have moved."


@dataclass(frozen=True)
class ModelOptions:
    """What was given."""

    weights: Annotated[Path | None, typer.Option(help=WEIGHTS)] = None
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file with models and transforms, for weights that do not describe their "
            "model."
        ),
    ] = None
    embedder: Annotated[
        Path | None, typer.Option(help="The embedder's weights, if they are in a separate file.")
    ] = None
    weights_prefix: Annotated[
        str, typer.Option(help="The prefix of the names, if several models in the file fit.")
    ] = ""
    allow_imports: Annotated[
        list[str] | None,
        typer.Option(
            help="A module with your own classes that the model needs; can be given several times."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what would be ignored."""
        if self.weights is None and (self.config or self.embedder or self.weights_prefix):
            from pml_incremental.config import ConfigError

            raise ConfigError(
                [
                    "command line: --config, --embedder and --weights-prefix are about --weights; "
                    "name that file too"
                ]
            )

    @property
    def about_weights(self) -> dict[str, Any]:
        """All of them but the first, as arguments."""
        found = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {**found, "allow_imports": self.imports}

    @property
    def imports(self) -> tuple[str, ...]:
        """What may be imported."""
        return tuple(self.allow_imports or ())

    @property
    def model(self) -> WeightsModel | None:
        """For galleries, which keep the places of files as they are from anywhere."""
        from pml_incremental.gallery import WeightsModel

        if self.weights is None:
            return None
        from pml_incremental.experiment.trained_weights import weights_in

        embedder = None if self.embedder is None else self.embedder.resolve()
        return WeightsModel(
            weights_in(self.weights).resolve(), **{**self.about_weights, "embedder": embedder}
        )

    def model_of(self, gallery: Gallery) -> ModelVersion | WeightsModel:
        """The model that a gallery's vectors come from."""
        from pml_incremental.gallery import ModelVersion

        return ModelVersion.described(gallery.model, self.imports, self.model)

    def compatible_model(self) -> WeightsModel:
        """Another model, whose embeddings are searched for among those of the gallery's."""
        from pml_incremental.config import ConfigError

        if self.model is None:
            raise ConfigError(["command line: --compatible needs the --weights of the other model"])
        return self.model


def takes_model(
    *flags: str, says: str = WEIGHTS, required: bool = False, metavar: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of :class:`ModelOptions`, as its argument ``trained``.

    Args:
        *flags: what the first is called; default: ``--weights``.
        says: the help of the first.
        required: whether it must be given.
        metavar: of an argument in its place, which has no flag.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(ModelOptions, include_extras=True)
        default = Parameter.empty if required else None
        kind = Path if required else Path | None
        hints["weights"] = (
            Annotated[Path, typer.Argument(metavar=metavar, help=says)]
            if metavar
            else Annotated[kind, typer.Option(*flags, help=says)]
        )
        options = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=default if name == "weights" else getattr(ModelOptions, name),
                annotation=hint,
            )
            for name, hint in hints.items()
        ]
        signature = inspect.signature(command, eval_str=True)

        @wraps(command)
        def with_model(**given: Any) -> None:
            from pml_incremental.cli.common import clean_errors

            with clean_errors():
                trained = ModelOptions(**{name: given.pop(name) for name in hints})
            command(**given, trained=trained)

        parameters: list[Parameter] = []
        for name, own in signature.parameters.items():
            parameters += (
                options if name == "trained" else [own.replace(kind=Parameter.KEYWORD_ONLY)]
            )
        with_model.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_model.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_model

    return decorate
