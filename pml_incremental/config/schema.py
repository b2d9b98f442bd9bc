"""The keys of an experiment's config and their types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    StrictStr,
    field_serializer,
    model_serializer,
    model_validator,
)

from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import canonical
from pml_incremental.config.objects import ObjectSpec, spec_label
from pml_incremental.config.yaml_files import Origins
from pml_incremental.datasets.image_files import WHITE, checked_color


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
                f"{spec.class_name!r} appears twice with the same arguments; remove one"
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


class Section(BaseModel):
    """A mapping with keys of its own, of which it refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformSpecs(Section):
    """What is done to images, in order.

    Args:
        train: to those that are learned.
        eval: to those that are retrieved.
        background: colour to draw transparent images on first, such as ``black`` or
            ``#808080``; of folders and lists of image files, in galleries and updates too.
    """

    train: Objects = ()
    eval: Objects = ()
    background: Annotated[StrictStr, AfterValidator(checked_color)] = WHITE

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As runs of versions without another background wrote it, unless there is one."""
        plain: dict[str, Any] = dump(self)
        return {key: value for key, value in plain.items() if (key, value) != ("background", WHITE)}


class ModelSpecs(Section):
    """The networks.

    Args:
        trunk: image to features.
        adapter: what learns in every task instead of the trunk's weights, and is merged into them
            after each: a config of peft's, such as ``LoraConfig``; default: all of it learns.
        embedder: features to embeddings; default: none, the features are the embeddings.
        classifier: embeddings to logits; only for trainers that use one.
        channels_last: keep the weights of convolutions in that memory layout: often much faster,
            also on a CPU; the same results up to rounding.
        compile: let torch.compile make kernels of the trunks of model and teacher for training;
            needs a C++ compiler. The same results up to rounding.
    """

    trunk: Object
    adapter: Object | None = None
    embedder: Object | None = None
    classifier: Object | None = None
    channels_last: StrictBool = False
    compile: StrictBool = False

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As runs of versions without adapters wrote it, unless there is one."""
        plain: dict[str, Any] = dump(self)
        return {key: value for key, value in plain.items() if (key, value) != ("adapter", None)}


class RecordSpecs(Section):
    """What is recorded during a run, and where. It does not change what is learned.

    Args:
        every: iterations between two records of the losses.
        writers: where they go, such as ``RecordKeeperWriter`` or ``TensorBoardWriter``.
    """

    every: PositiveInt = 50
    writers: Objects = ()


class CheckpointSpecs(Section):
    """When the state of a task in progress is saved: whenever one of these has passed.

    It is also saved when a task has been trained, when training fails, and when it is asked to
    stop.

    Args:
        epochs: whole number of at least 1; default: no limit.
        iterations: whole number of at least 1; default: no limit.
        minutes: more than 0; null: no limit.
    """

    epochs: PositiveInt | None = None
    iterations: PositiveInt | None = None
    minutes: Annotated[FiniteNumber, Field(gt=0)] | None = 10


class ExperimentConfig(Section):
    """Everything that decides a run.

    Args:
        name: of the run and its folder: letters, digits, ``_`` and ``-``. A config loaded from
            files is called like the first file if it has no name.
        seed: of all random choices, at least 0.
        output: the folder in which runs have their folders.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:<index>``.
        threads: of torch on the CPU; default: torch's choice.
        deterministic: use only kernels whose results do not change from run to run; slower on a
            GPU, and an error where there is none. On a CPU results do not change anyway.
        sync_batchnorm: with several processes, let BatchNorm normalise over the whole batch, as one
            process would, and not over each process's share.
        allow_imports: packages or modules of your own whose classes the config may name as
            ``module:Class``; importing them runs their code. Those of torch, torchvision, PML and
            this package need no mention.
        dataset: labelled images.
        scenario: how they are split into tasks.
        transforms: of the images.
        models: the networks.
        trained_start: whether the models have learned other classes before, which the first task is
            to keep as later ones do: trunk and embedder then have a ``weights_file`` each.
        loss_funcs: by name; ``metric_loss`` must be there.
        loss_weights: by the names of ``loss_funcs``; 1 for those not given.
        mining_funcs: ``tuple_miner`` and ``subset_batch_miner``.
        sampler: of training batches; default: all images in random order.
        optimizers: ``<model or loss>_optimizer``.
        lr_schedulers: ``<model or loss>_scheduler_by_epoch`` or ``..._by_iteration``.
        grad_clip_norm: largest norm of each model's gradient; default: no limit.
        trainer: how a task is learned.
        num_epochs: of each task, or one number per task, the last of which repeats.
        tester: how a model is evaluated.
        records: where losses, values and pictures are recorded; default: nowhere, beyond what
            every run writes.
        checkpoint: how often a task in progress is saved; default: every 10 minutes.
        strategies: methods against forgetting, each of which learns all tasks.

    Raises:
        ValueError: (pydantic's ValidationError) if a key is missing, unknown or of a wrong type.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    seed: Annotated[StrictInt, Field(ge=0)] = 0
    output: Path = Path("runs")
    device: Annotated[StrictStr, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: PositiveInt | None = None
    deterministic: StrictBool = False
    sync_batchnorm: StrictBool = True
    allow_imports: tuple[ModuleName, ...] = ()
    dataset: Object
    scenario: Object
    transforms: Annotated[TransformSpecs, BeforeValidator(drop_nulls)] = TransformSpecs()
    models: ModelSpecs
    trained_start: StrictBool = False
    loss_funcs: ObjectsByName
    loss_weights: LossWeights = {}
    mining_funcs: ObjectsByName = {}
    sampler: Object | None = None
    optimizers: ObjectsByName
    lr_schedulers: ObjectsByName = {}
    grad_clip_norm: Annotated[FiniteNumber, Field(gt=0)] | None = None
    trainer: Object
    num_epochs: Epochs
    tester: Object = ObjectSpec(class_name="IncrementalTester")
    records: Annotated[RecordSpecs, BeforeValidator(drop_nulls)] = RecordSpecs()
    checkpoint: Annotated[CheckpointSpecs, BeforeValidator(empty_if_null)] = CheckpointSpecs()
    strategies: Strategies = (
        ObjectSpec(class_name="finetune"),
        ObjectSpec(class_name="correlation"),
    )

    @model_validator(mode="after")
    def _imports_only_what_it_allows(self) -> ExperimentConfig:
        problems = [
            f"{'.'.join(map(str, path))}: {message}"
            for path, message in find_import_problems(self.to_yaml_dict())
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @property
    def origins(self) -> Origins:
        """Where each key came from, for messages."""
        return self._origins

    def with_origins(self, origins: Origins) -> ExperimentConfig:
        """The same config, which knows where its keys came from."""
        config = self.model_copy()
        config._origins = origins
        return config

    @field_serializer("output")
    def _path_as_text(self, path: Path) -> str:
        return str(path)

    def to_yaml_dict(self) -> dict[str, Any]:
        """Plain values which, loaded again, give an equal config."""
        plain: dict[str, Any] = canonical(self.model_dump())
        return plain
