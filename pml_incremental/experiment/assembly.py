"""Building what a config describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.config import ConfigError, ExperimentConfig, ModelSpecs, ObjectSpec
from pml_incremental.config.model_sources import may_have_head, without_downloads
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.models import check_compiler, output_width, remove_classification_head
from pml_incremental.models.adapters import check_adapter
from pml_incremental.scenarios import ClassIncrementalScenario, Task, TaskSubset
from pml_incremental.strategies import Component, Strategy
from pml_incremental.trainers import check_unchanging
from pml_incremental.wording import counted

DEFAULT_BATCH_SIZE = 32


def choose_device(name: str) -> torch.device:
    """``auto`` means a GPU if there is one."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ValueError(
            f"device: {name} is not available: torch finds {counted(gpus, 'CUDA GPU')} on this "
            "machine; write device: cpu, or auto"
        )
    return device


def build_scenario(config: ExperimentConfig, progress: bool = False) -> ClassIncrementalScenario:
    """The dataset, split into tasks, with its transforms."""
    scenario: ClassIncrementalScenario = config.scenario.build(
        "scenario",
        dataset=config.dataset.build(
            "dataset", progress=progress, background=config.transforms.background
        ),
        seed=config.seed,
        train_transform=build_transform(config.transforms.train),
        test_transform=build_transform(config.transforms.eval),
    )
    check_batches(config, scenario)
    return scenario


def check_batches(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> None:
    """Raise a ValueError if a task cannot fill the batches of the config's sampler."""
    if config.sampler is not None:
        per_class = int(config.sampler.kwargs.get("m", 1))
        scenario.check_batches(batch_size(config), per_class)


def build_transform(specs: tuple[ObjectSpec, ...]) -> Callable[[Any], Any]:
    """The transforms in their order; images become tensors if none of them does it."""
    from torchvision import transforms

    steps = [spec.build("transform") for spec in specs]
    if not any(isinstance(step, transforms.ToTensor) for step in steps):
        steps.append(transforms.ToTensor())
    composed: Callable[[Any], Any] = transforms.Compose(steps)
    return composed


def build_models(
    config: ExperimentConfig, task: Task, device: torch.device
) -> dict[str, nn.Module]:
    """Trunk, embedder and, if there is one, classifier, for the first task."""
    images = task.test[0][0].unsqueeze(0)
    models = build_trunk_and_embedder(config.models, images)
    if config.models.classifier is not None:
        models["classifier"] = config.models.classifier.build(
            "model",
            in_features=output_width(nn.Sequential(*models.values()), images),
            num_classes=len(task.labels),
        )
    return place(models, config.models, device)


def build_trunk_and_embedder(specs: ModelSpecs, images: Tensor) -> dict[str, nn.Module]:
    """The models that give embeddings, on the CPU."""
    trunk: nn.Module = specs.trunk.build("model", alone=specs.embedder is None)
    if may_have_head(specs.trunk.class_name):
        remove_classification_head(trunk)
    width = output_width(trunk, images)
    embedder: nn.Module = nn.Identity()
    if specs.embedder is not None:
        embedder = specs.embedder.build("model", in_features=width)
    return {"trunk": trunk, "embedder": embedder}


def with_model_arguments(
    config: ExperimentConfig, change: Callable[[str, Mapping[str, Any]], dict[str, Any]]
) -> ExperimentConfig:
    """The config with models of other arguments."""
    models = config.models
    parts = {
        name: ObjectSpec(class_name=spec.class_name, kwargs=change(spec.class_name, spec.kwargs))
        for name in ("trunk", "embedder", "classifier")
        if (spec := getattr(models, name)) is not None
    }
    return config.model_copy(update={"models": models.model_copy(update=parts)})


def place(
    models: Mapping[str, nn.Module], specs: ModelSpecs, device: torch.device
) -> dict[str, nn.Module]:
    """The models on a device, in the memory layout that is wanted."""
    layout = torch.channels_last if specs.channels_last else torch.contiguous_format
    return {
        name: model.to(device, memory_format=layout)  # type: ignore[call-overload]
        for name, model in models.items()
    }


def build_losses(
    specs: Mapping[str, ObjectSpec], num_classes: int, embedding_size: int
) -> dict[str, nn.Module]:
    """Loss functions; those with proxies or class weights are told how many classes there are."""
    return {
        name: spec.build("loss", num_classes=num_classes, embedding_size=embedding_size)
        for name, spec in specs.items()
    }


def build_optimizers(
    specs: Mapping[str, ObjectSpec], modules: Mapping[str, nn.Module]
) -> dict[str, torch.optim.Optimizer]:
    """One optimizer per module that has something to learn."""
    parameters = {
        f"{name}_optimizer": [p for p in module.parameters() if p.requires_grad]
        for name, module in modules.items()
    }
    missing = [key for key, found in parameters.items() if found and key not in specs]
    if missing:
        raise ValueError(
            f"optimizers: {', '.join(missing)} missing, so those parameters would never be "
            "trained; add them"
        )
    idle = [key for key in specs if not parameters.get(key)]
    if idle:
        raise ValueError(f"optimizers: {', '.join(idle)} would have nothing to train; remove them")
    return {key: spec.build("optimizer", params=parameters[key]) for key, spec in specs.items()}


def build_sampler(config: ExperimentConfig, images: TaskSubset) -> Any:
    """The sampler of training batches, or None for all images in random order."""
    if config.sampler is None:
        return None
    size = batch_size(config)
    return config.sampler.build(
        "sampler",
        labels=images.labels,
        batch_size=size,
        # PML's own default makes an epoch of 100,000 images, however few there are.
        length_before_new_iter=max(size, len(images)),
    )


def batch_size(config: ExperimentConfig) -> int:
    """Images in a training batch."""
    return int(config.trainer.kwargs.get("batch_size", DEFAULT_BATCH_SIZE))


def checked_scenario(config: ExperimentConfig, progress: bool = False) -> ClassIncrementalScenario:
    """The tasks of a run, once everything is known to fit that can be known without training."""
    strategies = [build_strategy(config, spec) for spec in config.strategies]
    components = [component for strategy in strategies for component in strategy.components]
    adapters = [adapter() for adapter in adapters_of(config, components)]
    seed_everything(config.seed)
    scenario = build_scenario(config, progress)
    check_training(config, scenario)
    check_models(config, scenario[0], adapters, components)
    return scenario


def check_models(
    config: ExperimentConfig,
    task: Task,
    adapters: Sequence[Any] = (),
    components: Sequence[Component] = (),
) -> None:
    """Refuse models that do not take the images of a task, and what does not fit the models.

    That may be weights, adapters or components of strategies. Weights that would be downloaded are
    left out: they fit.
    """

    def local(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        has_file = "weights_file" in arguments
        return dict(arguments) if has_file else without_downloads(model, arguments)

    with torch.random.fork_rng(devices=()):
        models = build_models(with_model_arguments(config, local), task, torch.device("cpu"))
        images = task.train[0][0].unsqueeze(0)
        output_width(models["trunk"], images)
        for adapter in adapters:
            check_adapter(models["trunk"], adapter, images)
        width = output_width(nn.Sequential(models["trunk"], models["embedder"]), images)
        losses = build_losses(config.loss_funcs, len(task.labels), width)
        for component in components:
            component.check_models({**models, **losses}, images)


def adapters_of(
    config: ExperimentConfig, components: Sequence[Component]
) -> list[Callable[[], Any]]:
    """What makes the adapters that learn instead of the trunk: of components, and the config's."""
    found = [component.adapter for component in components if component.adapter is not None]
    own = config.models.adapter
    return found if own is None else [*found, partial(own.build, "adapter")]


def check_training(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> None:
    """Refuse a config whose training would fail for what it finds here."""
    if config.models.compile:
        check_compiler()
    if config.trainer.kwargs.get("cache_teacher"):
        check_unchanging(scenario[0].train)


def build_strategy(config: ExperimentConfig, spec: ObjectSpec) -> Strategy:
    """The strategy that a config names."""
    strategy: Strategy = spec.build("strategy")
    problem = _problem(strategy, config)
    if problem is not None:
        raise ConfigError([f"strategies: {spec.class_name} {problem}"])
    return replace(strategy, trained_start=config.trained_start)


def _problem(strategy: Strategy, config: ExperimentConfig) -> str | None:
    """Why a config cannot have the strategy, if it cannot."""
    if strategy.needs_classifier and config.models.classifier is None:
        return (
            "compares logits and the config has no classifier; add models.classifier "
            "(GrowingClassifier), its optimizer, loss_funcs.classifier_loss and the trainer "
            "IncrementalTrainWithClassifier, or leave it out"
        )
    if strategy.needs_classifier and config.trained_start:
        return (
            "compares logits, and with trained_start: true only trunk and embedder are trained; "
            "leave it out"
        )
    if strategy.moves_teacher and config.trainer.kwargs.get("cache_teacher"):
        return (
            "changes the teacher, so its embeddings cannot be cached; leave it out, or trainer's "
            "cache_teacher"
        )
    adapters = adapters_of(config, strategy.components)
    if len(adapters) > 1:
        return "brings an adapter, and so does another part of it, or models.adapter; leave one out"
    if adapters and any(component.holds_weights for component in strategy.components):
        return (
            "holds each weight of the trunk, and these rest while an adapter learns; leave out one "
            "or the other"
        )
    rotates = any(component.rotates_embeddings for component in strategy.components)
    if rotates and any(c.holds_weights and c.observes_training for c in strategy.components):
        return (
            "gathers importances of weights while training, and another part of it rotates these "
            "weights after; leave out one or the other"
        )
    if strategy.moves_teacher and strategy.caches_teacher:
        return (
            "changes the teacher, but embeds a pool of probes with it only once; leave out the pool"
        )
    return None
