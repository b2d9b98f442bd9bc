"""The commands that look at many runs: ``compare`` and ``tune``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pml_incremental.cli.common import (
    Arguments,
    Download,
    Quiet,
    clean_errors,
    load_valid_config,
    program,
)
from pml_incremental.extras import require

if TYPE_CHECKING:
    from pml_incremental.config import ExperimentConfig
    from pml_incremental.experiment import Engine


class EngineName(str, Enum):
    """Where a comparison runs."""

    LOCAL = "local"
    SUBMITIT = "submitit"


def with_strategies(config: ExperimentConfig, names: str, option: str) -> ExperimentConfig:
    """The config with the strategies named, checked like one from a file."""
    from pml_incremental.config import ConfigError, ObjectSpec, parse_yaml, validate
    from pml_incremental.experiment import choose_strategies

    if not names.strip():
        return config
    where = f"command line: {option}"
    if not all(word.strip() for word in names.split(",")):
        raise ConfigError([f"{where}: a name is missing in {names!r}; leave out that comma"])
    try:
        entries = parse_yaml(f"[{names}]")
        chosen = choose_strategies(config, list(map(ObjectSpec.parse, entries)))
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from error
    except ValueError as error:
        raise ConfigError([f"{where}: {error}"]) from error
    chosen = chosen.with_origins(config.origins.with_all_of("strategies", where))
    validate(chosen)
    return chosen


def parse_seeds(text: str) -> list[int]:
    """Numbers, separated by commas."""
    from pml_incremental.config import ConfigError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(
            [f"command line: --seeds: must be different numbers such as 0,1,2, got {text!r}"]
        )
    return [int(word) for word in words]


def choose_engine(
    config: ExperimentConfig, name: EngineName, jobs: int, cluster: str, options: list[str]
) -> Engine:
    """The engine that the options describe."""
    from pml_incremental.config import ConfigError
    from pml_incremental.experiment import LocalProcesses, Submitit, ThisProcess
    from pml_incremental.experiment.comparison.engines import visible_gpus

    if name is EngineName.SUBMITIT:
        logs = Path(config.output) / config.name / "submitit"
        return Submitit(logs, cluster or None, parse_options(options))
    if cluster or options:
        raise ConfigError(
            ["command line: --cluster and --engine-option are for --engine submitit; add it"]
        )
    if jobs == 1:
        return ThisProcess()
    # Who names one GPU (cuda:1) wants that one.
    return LocalProcesses(jobs, visible_gpus() if config.device in ("auto", "cuda") else ())


def parse_options(options: list[str]) -> dict[str, Any]:
    """``key=value`` pairs, the values in YAML."""
    from pml_incremental.config import ConfigError, parse_yaml

    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError([f"command line: --engine-option: write key=value, got {option!r}"])
        parsed[key] = parse_yaml(value)
    return parsed


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(
        epilog="Example: pml-incremental compare configs/glyphs.yaml "
        "--strategies finetune,l2,correlation+ewc,joint --seeds 0,1,2 --jobs 2"
    )(compare)
    app.command(
        epilog="Example: pml-incremental tune configs/glyphs.yaml "
        "--strategy correlation+ewc --trials 40"
    )(tune)


def compare(
    arguments: Arguments,
    strategies: Annotated[
        str,
        typer.Option(
            help="Names, separated by commas, with options as in YAML; default: the config's."
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Numbers, separated by commas.")] = "0,1,2",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Number of processes on this machine.")
    ] = 1,
    engine: Annotated[
        EngineName, typer.Option(help="This machine, or a cluster (the extra 'cluster').")
    ] = EngineName.LOCAL,
    cluster: Annotated[
        str, typer.Option(help="For submitit: slurm or local; default: what is available.")
    ] = "",
    engine_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="For submitit, such as slurm_partition=gpu."),
    ] = None,
    download: Download = False,
    quiet: Quiet = False,
) -> None:
    """Compare strategies over several seeds; runs that are finished are not repeated.

    Writes tables and pictures to <output>/<name>/report.
    """
    with clean_errors():
        config = load_valid_config(arguments, download)
        config = with_strategies(config, strategies, "--strategies")
        from pml_incremental.experiment import compare as compare_runs
        from pml_incremental.experiment.comparison.compare import summary_table
        from pml_incremental.report import print_comparison

        chosen = choose_engine(config, engine, jobs, cluster, engine_option or [])
        shows_bars = not quiet and jobs == 1 and engine is EngineName.LOCAL
        comparison = compare_runs(config, parse_seeds(seeds), engine=chosen, progress=shows_bars)
        print_comparison(summary_table(comparison))
        typer.echo(f"written: {comparison.folder / 'report'}")


def tune(
    arguments: Arguments,
    strategy: Annotated[
        str,
        typer.Option(
            help="A name or a sum of names, with options as in YAML; default: the config's only "
            "strategy."
        ),
    ] = "",
    trials: Annotated[int, typer.Option(min=1, help="Number of trials in all.")] = 30,
    validation: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of training images to validate on.")
    ] = 0.3,
    download: Download = False,
    quiet: Quiet = False,
) -> None:
    """Search a strategy's weights, temperatures and dial on the first two tasks' training images.

    Never looks at test images or later tasks. Needs the extra 'tune'.
    """
    with clean_errors():
        require("optuna", "tune", extra="tune")
        config = with_strategies(load_valid_config(arguments, download), strategy, "--strategy")
        from pml_incremental.config import ConfigError, dump_yaml
        from pml_incremental.experiment import tune as search
        from pml_incremental.report.style import percent

        if len(config.strategies) != 1:
            names = ", ".join(spec.class_name for spec in config.strategies)
            raise ConfigError([f"command line: choose one with --strategy from {names}"])
        found = search(
            config,
            config.strategies[0],
            trials=trials,
            validation_fraction=validation,
            progress=not quiet,
        )
        typer.echo(
            f"best of {found.trials} trials, Recall@1 {percent(found.value)} % in validation:"
        )
        typer.echo(dump_yaml(found.spec.to_yaml_form()).rstrip())
        typer.echo(f"written: {found.file}; next: {program()} run {found.file}")
