"""Choosing a strategy's weights and temperatures without looking at test data."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pml_incremental.config import (
    ConfigError,
    ExperimentConfig,
    ObjectSpec,
    RecordSpecs,
    dump_yaml,
    resolve,
)
from pml_incremental.config.objects import spec_label
from pml_incremental.config.registry import is_sum, split_sum
from pml_incremental.experiment.assembly import batch_size, check_batches
from pml_incremental.experiment.environment import apply_torch_settings
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.running.task_checkpoint import StopRequest, stop_signals
from pml_incremental.experiment.running.task_loop import TaskLoop
from pml_incremental.extras import require
from pml_incremental.metrics.task_matrix import OWN
from pml_incremental.scenarios import ClassIncrementalScenario, Task, join_subsets
from pml_incremental.signatures import signature_of
from pml_incremental.trainers import NonFiniteLossError

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger(__name__)


# How far from its centre a number is searched, as a factor.
_WEIGHT_REACH, _OTHER_REACH = 10.0, 4.0


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        spec: the best strategy.
        value: its mean Recall@1 over both tasks, on the validation images.
        trials: how many were tried in all.
        file: the config with it.
    """

    spec: ObjectSpec
    value: float
    trials: int
    file: Path


def tune(
    config: ExperimentConfig,
    spec: ObjectSpec,
    *,
    trials: int = 30,
    validation_fraction: float = 0.3,
    progress: bool = True,
) -> Tuned:
    """Search a strategy's weights, temperatures and dial on the first two tasks.

    Only training images of these two tasks are used: a part of each class is held out, and the
    mean Recall@1 over both tasks on it, after the second one, is what is sought to be high. Neither
    test images nor later tasks are looked at. A trial whose loss diverges counts as 0.

    The trials are kept in ``<output>/<name>_tune/study.db``, so that the same call resumes a
    search that was killed, and proposes what it would have proposed; with more trials it adds to
    it. Each proposal is Optuna's (tree-structured Parzen estimator), seeded by the config's seed.

    Args:
        config: a validated config.
        spec: the strategy; :func:`~pml_incremental.experiment.tuning.tune.search_space`
        trials: how many to try in all, at least 1.
        validation_fraction: share of each class's training images to validate on.
        progress: whether to show progress bars.

    Returns:
        The best of all trials, as written to ``best_<strategy>.yaml`` beside the study.

    Raises:
        ConfigError: if the strategy has nothing to search.
        MissingExtraError: if Optuna is not installed.
        ValueError: if trials is below 1, or the folder holds a search on other data.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    require("optuna", "tune", extra="tune")
    space = search_space(spec)
    with stop_signals() as stop:
        loop = _set_up(config, spec, validation_fraction, progress, stop)
        with loop.folder.lock(spec_label(spec)):
            return _search(loop, config, spec, space, trials)


def _search(
    loop: TaskLoop,
    config: ExperimentConfig,
    spec: ObjectSpec,
    space: Mapping[str, Range],
    trials: int,
) -> Tuned:
    study = _open_study(loop.folder, spec)
    while (done := len(_completed(study))) < trials:
        study.sampler = _sampler(config.seed, done)
        trial = study.ask()
        values = {
            name: _short(trial.suggest_float(name, found.low, found.high, log=True))
            for name, found in space.items()
        }
        study.tell(trial, _try(loop, with_values(spec, values)))
    best = with_values(spec, {name: _short(v) for name, v in study.best_params.items()})
    # The folder of the config's own name may hold a run with other values.
    named = {"name": f"{config.name}_tuned", "strategies": (best,)}
    plain = config.model_copy(update=named).to_yaml_dict()
    file = loop.folder.write_text(f"best_{spec_label(spec)}.yaml", dump_yaml(plain))
    return Tuned(best, float(study.best_value), len(_completed(study)), file)


def _set_up(
    config: ExperimentConfig,
    spec: ObjectSpec,
    validation_fraction: float,
    progress: bool,
    stop: StopRequest,
) -> TaskLoop:
    """The loop over the first two tasks and their validation images."""
    apply_torch_settings(config)
    name = f"{config.name}_tune"
    loop = TaskLoop.set_up(
        config.model_copy(update={"name": name, "strategies": (spec,), "records": RecordSpecs()}),
        progress,
        stop,
    )
    before = loop.folder.read_json("tuning.json")
    now = {"validation_fraction": validation_fraction}
    if before is not None and before != now:
        raise ValueError(f"{loop.folder.path} has a search with {before}: give another name")
    scenario = validation_scenario(loop.scenario, validation_fraction, config.seed)
    fitting = with_fitting_batch(loop.config, scenario)
    check_batches(fitting, scenario)
    loop.folder.write_json("tuning.json", now)
    return dataclasses.replace(loop, config=fitting, scenario=scenario, draws=False)


def with_fitting_batch(
    config: ExperimentConfig, scenario: ClassIncrementalScenario
) -> ExperimentConfig:
    """The config with a batch that the images left for training can fill."""
    if config.sampler is None:
        return config
    size, per_class = batch_size(config), int(config.sampler.kwargs.get("m", 1))
    most = min(min(len(task.classes), len(task.train) // per_class) for task in scenario)
    smaller = min(size // per_class, most) * per_class
    if smaller in (0, size):
        return config
    logger.warning("tuning with batches of %d, as validation images are held out", smaller)
    trainer = config.trainer.model_copy(
        update={"kwargs": {**config.trainer.kwargs, "batch_size": smaller}}
    )
    return config.model_copy(update={"trainer": trainer})


def _try(loop: TaskLoop, spec: ObjectSpec) -> float:
    """Mean Recall@1 over both tasks; the models are not kept."""
    try:
        value = loop.learn_strategy(spec)[OWN].last()
    except NonFiniteLossError:
        value = 0.0
    shutil.rmtree(loop.folder.path / spec_label(spec), ignore_errors=True)
    return value


def _open_study(folder: RunFolder, spec: ObjectSpec) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{folder.file('study.db')}",
        study_name=spec_label(spec),
        direction="maximize",
        load_if_exists=True,
    )


def _completed(study: Study) -> list[object]:
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _sampler(seed: int, done: int) -> object:
    """A proposal depends on what was tried, the seed and its place, not on interruptions."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.SeedSequence([seed, done]).generate_state(1)[0]))


def _short(value: float) -> float:
    """Four digits, which are enough, in file names too."""
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class Range:
    """A positive number, searched evenly in its logarithm."""

    low: float
    high: float


def search_space(spec: ObjectSpec) -> dict[str, Range]:
    """The numbers of a strategy that say how hard it holds, and where to look for them.

    Weights are searched from a tenth to ten times, temperatures, ``lose_at_most`` and ``alpha``
    from a quarter to four times of what the config says or, where it says nothing, of the default.
    """
    space = {}
    for prefix, name, options in _parts(spec):
        for key, parameter in signature_of(resolve("strategy", name)).parameters.items():
            reach = _reach(key)
            centre = options.get(key, parameter.default)
            if reach is not None and centre is not None:
                if not centre > 0:
                    raise ConfigError(
                        [f"{spec.class_name}: {key} is {centre}: nothing can be searched around it"]
                    )
                space[prefix + key] = Range(centre / reach, centre * reach)
    if not space:
        raise ConfigError(
            [f"{spec.class_name} has no weight, temperature, lose_at_most or alpha to search"]
        )
    return space


def with_values(spec: ObjectSpec, values: Mapping[str, float]) -> ObjectSpec:
    """A strategy with numbers found in its search space."""
    kwargs: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in spec.kwargs.items()
    }
    for name, value in values.items():
        part, dot, key = name.rpartition(".")
        (kwargs.setdefault(part, {}) if dot else kwargs)[key] = value
    return ObjectSpec(class_name=spec.class_name, kwargs=kwargs)


def _parts(spec: ObjectSpec) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Prefix, name and options of the strategy or of each part of a sum."""
    if not is_sum("strategy", spec.class_name):
        yield "", spec.class_name, spec.kwargs
        return
    for name, options in split_sum(spec.class_name, spec.kwargs):
        yield f"{name}.", name, options


def _reach(key: str) -> float | None:
    if key == "weight" or key.endswith("_weight"):
        return _WEIGHT_REACH
    return _OTHER_REACH if key in ("temperature", "lose_at_most", "alpha") else None


class TrainingImages:
    """The training images of some tasks as a dataset of its own; nothing else can be reached."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._images = join_subsets([task.train.with_transform(None) for task in tasks])
        self.labels = self._images.labels
        self.classes = [name for task in tasks for name in task.class_names]
        self.class_groups = [list(task.labels) for task in tasks]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._images[index]


def validation_scenario(
    scenario: ClassIncrementalScenario, validation_fraction: float, seed: int
) -> ClassIncrementalScenario:
    """The first two tasks, each class's training images split into training and validation.

    Classes with fewer than four training images are left out, as both sides need two.
    """
    if len(scenario) < 2:
        raise ValueError("tuning needs two tasks, the scenario has one: it brings no new classes")
    first, second = scenario[0], scenario[1]
    return ClassIncrementalScenario(
        TrainingImages([first, second]),
        class_groups="natural",
        seed=seed,
        test_fraction=validation_fraction,
        on_small_class="drop",
        train_transform=first.train.transform,
        test_transform=first.test.transform,
    )
