"""Several strategies with several seeds, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pml_incremental.config import ExperimentConfig, ObjectSpec, resolve
from pml_incremental.config.import_checks import find_own_modules
from pml_incremental.config.objects import spec_label
from pml_incremental.experiment.assembly import build_strategy
from pml_incremental.experiment.comparison.engines import Engine, LocalProcesses, ThisProcess
from pml_incremental.experiment.environment import apply_torch_settings
from pml_incremental.experiment.running.outputs import metric_title, write_outputs
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.running.task_checkpoint import stop_signals
from pml_incremental.experiment.running.task_loop import TaskLoop
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import OWN
from pml_incremental.report import (
    ComparisonTable,
    comparison_table,
    plot_forgetting_curves,
    plot_pareto,
    plot_task_matrix,
)
from pml_incremental.report.results import Result
from pml_incremental.signatures import signature_of
from pml_incremental.storage import write_text_whole
from pml_incremental.wording import counted


def compare(
    config: ExperimentConfig,
    seeds: Sequence[int],
    *,
    engine: Engine | None = None,
    progress: bool = True,
) -> Comparison:
    """Run every strategy of a config with every seed, and report on them together.

    Each seed is a run of its own in ``<output>/<name>/seed_<seed>``, in which the strategies share
    the first task. What is in these folders is not learned again, so the same call resumes a
    comparison that was killed, and one with more seeds or strategies adds to it.

    Args:
        config: a validated config; its own seed is not used.
        seeds: at least one, each at least 0.
        engine: where the parts run; default: in this process, one after the other.
        progress: whether to show progress bars.

    Returns:
        All results, as reported in ``<output>/<name>/report``.

    Raises:
        ValueError: if the seeds are not as above, the data do not fit the config, or a folder
            holds another run.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different numbers of at least 0, got {list(seeds)}")
    engine = engine if engine is not None else ThisProcess()
    runs = {seed: with_seed(config, seed) for seed in seeds}
    folders = {seed: claim_folder(run) for seed, run in runs.items()}
    missing = [
        Job(runs[seed], spec, progress)
        for spec in config.strategies
        for seed in seeds
        if read_job(folders[seed], spec) is None
    ]
    with stop_signals():
        if missing and isinstance(engine, LocalProcesses):
            look_through(config)
        engine.run(do_job, shared_starts(missing))
        engine.run(do_job, missing)
    comparison = Comparison(
        name=config.name,
        folder=Path(config.output) / config.name,
        results={seed: gather(runs[seed], folders[seed]) for seed in seeds},
    )
    write_comparison(comparison)
    return comparison


def look_through(config: ExperimentConfig) -> None:
    """Look at the images of a folder or list here, so that none of the processes needs to."""
    looks = "on_bad_image" in signature_of(resolve("dataset", config.dataset.class_name)).parameters
    if looks:
        config.dataset.build("dataset", progress=False)


def with_seed(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """The config of the run with one seed."""
    folder = Path(config.output) / config.name
    return config.model_copy(update={"name": f"seed_{seed}", "seed": seed, "output": folder})


def claim_folder(config: ExperimentConfig) -> RunFolder:
    """The folder of a run, checked to be one of this config, after its strategies were built."""
    for spec in config.strategies:
        build_strategy(config, spec)
    return RunFolder(Path(config.output) / config.name, config.to_yaml_dict())


def shared_starts(jobs: Sequence[Job]) -> list[Job]:
    """What must be learned before the jobs can be, at the same time or not: once per run."""
    starts = {
        job.config.seed: Job(job.config, None, job.progress)
        for job in jobs
        if job.spec is not None and build_strategy(job.config, job.spec).shares_first_task
    }
    return list(starts.values())


def gather(config: ExperimentConfig, folder: RunFolder) -> Result:
    """The result of a run all of whose strategies are finished, written as ``run`` does."""
    strategies = {}
    for spec in config.strategies:
        matrices = read_job(folder, spec)
        assert matrices is not None
        strategies[spec_label(spec)] = matrices
    result = Result(config.name, folder.path, strategies)
    write_outputs(result, folder)
    return result


def choose_strategies(
    config: ExperimentConfig, names: Sequence[str | ObjectSpec]
) -> ExperimentConfig:
    """The config with other strategies.

    Args:
        config: whose options are taken for the strategies that it has itself.
        names: of strategies or of sums of them, or with options of their own.

    Returns:
        A new config. A strategy that the config has several times, with several options, stays so.

    Example:
        >>> from pml_incremental.config import ObjectSpec
        >>> base = ExperimentConfig.model_construct(
        ...     strategies=(ObjectSpec(class_name="l2", kwargs={"weight": 2}),)
        ... )
        >>> [spec_label(spec) for spec in choose_strategies(base, ["l2", "ewc"]).strategies]
        ['l2-weight_2', 'ewc']
    """
    specs: list[ObjectSpec] = []
    for wanted in map(ObjectSpec.parse, names):
        own = [spec for spec in config.strategies if spec.class_name == wanted.class_name]
        found = [wanted] if wanted.kwargs else own or [wanted]
        specs += [spec for spec in found if spec not in specs]
    return config.model_copy(update={"strategies": tuple(specs)})


@dataclass(frozen=True)
class Job:
    """A part of a run."""

    config: ExperimentConfig  # of the run
    spec: ObjectSpec | None  # the strategy, one of the config's; None for what all strategies share
    progress: bool = False  # whether to show progress bars


def do_job(job: Job) -> None:
    """Do a job, or what is missing of it, and leave it in the run's folder."""
    apply_torch_settings(job.config)
    find_own_modules()  # as the command line does, in processes that it started
    with stop_signals() as stop:
        loop = TaskLoop.set_up(job.config, job.progress, stop)
        if job.spec is None:
            loop.learn_start()
            return
        with loop.folder.lock(spec_label(job.spec)):
            matrices = loop.learn_strategy(job.spec)
            stored = {metric: matrix.to_dict()["values"] for metric, matrix in matrices.items()}
            loop.folder.write_checked_json(_file(job.spec), stored)


def read_job(folder: RunFolder, spec: ObjectSpec) -> dict[str, TaskMatrix] | None:
    """What :func:`do_job` left."""
    stored: dict[str, Any] | None = folder.read_json(_file(spec))
    if stored is None:
        return None
    return {metric: TaskMatrix(values) for metric, values in stored.items()}


def _file(spec: ObjectSpec) -> str:
    return f"{spec_label(spec)}/matrices.json"


@dataclass(frozen=True)
class Comparison:
    """The results of the same strategies with several seeds.

    Attributes:
        name: of the config.
        folder: holds a run's folder per seed and ``report/``.
        results: seed -> result, all of the same strategies.

    Example:
        >>> result = Result("seed_0", Path("x"), {"finetune": {"m": TaskMatrix([[0.5], [0.75]])}})
        >>> comparison = Comparison("demo", Path("runs/demo"), {0: result})
        >>> comparison.strategies, comparison.mean_matrix("finetune", "m")
        (('finetune',), TaskMatrix([[0.5], [0.75]]))
    """

    name: str
    folder: Path
    results: Mapping[int, Result]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Their names, in the order of the table."""
        return tuple(next(iter(self.results.values())).strategies)

    def matrices(self, strategy: str, metric: str) -> list[TaskMatrix]:
        """A strategy's matrix for each seed."""
        return [result.strategies[strategy][metric] for result in self.results.values()]

    def mean_matrix(self, strategy: str, metric: str) -> TaskMatrix:
        """The mean of a strategy's matrices over seeds."""
        return TaskMatrix(
            np.mean([matrix.values for matrix in self.matrices(strategy, metric)], axis=0)
        )


def write_comparison(comparison: Comparison) -> None:
    """Write the table in three formats and the pictures to ``report/``."""
    folder = comparison.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    matrices = {name: comparison.matrices(name, OWN) for name in comparison.strategies}
    table = summary_table(comparison)
    write_text_whole(folder / "table.md", table.to_markdown())
    write_text_whole(folder / "table.tex", table.to_latex())
    write_text_whole(folder / "table.csv", table.to_csv())
    plot_pareto(matrices, folder / "pareto.png", metric_title(OWN))
    plot_forgetting_curves(matrices, folder / "forgetting.png", metric_title(OWN))
    for name in comparison.strategies:
        title = f"{name}: {metric_title(OWN)}, mean of {counted(len(comparison.results), 'seed')}"
        plot_task_matrix(
            comparison.mean_matrix(name, OWN), folder / f"matrix_{name}.png", title=title
        )


def summary_table(comparison: Comparison) -> ComparisonTable:
    """Old, new and mean Recall@1, average incremental and forgetting of each strategy."""
    matrices = {name: comparison.matrices(name, OWN) for name in comparison.strategies}
    return comparison_table(matrices, title=f"{comparison.name}: {metric_title(OWN)}, in %")
